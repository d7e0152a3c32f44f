//! The protocol in scenarios that nobody thought of: random numbers of processes, tasks, shards, threads and descriptors, with faults.

use std::sync::Arc;

use flockstep::oracle::{Builds, NoEmfile, Publish};
use flockstep::protocol::budget::{BUILD, RESERVE};
use flockstep::protocol::{Cache, Plan, Recipe, Result, Settings, Task, Work, build_all, sweep};
use flockstep::world::{Notes, OpenOptions, Process, World, write_all};
use flockstep::{SimWorld, Strategy, scenario};
use proptest::prelude::{ProptestConfig, any, proptest};

struct Result1(String);

impl<W: World> Recipe<W> for Result1 {
    type Needs = ();
    fn key(&self) -> &str {
        &self.0
    }
    async fn prepare(&self, _: &W, _: &mut Task<W>) -> Result<()> {
        Ok(())
    }
    async fn produce(&self, world: &W, _: &(), work: &mut Work<'_, W>) -> Result<()> {
        let file = world.open(&format!("{}/out", work.dir()), OpenOptions::create_new()).await?;
        write_all(world, &file, b"whole").await?;
        Ok(world.close(file).await?)
    }
}

async fn build(world: SimWorld, keys: u32, jobs: u32, swept: bool) -> Result<()> {
    let cache = Cache::new(&world, Settings { lock_timeout: None, ..Settings::new("/cache", "/tmp") })?;
    let mut command = cache.command();
    if swept {
        sweep(&world, &mut command).await?;
    }
    let keys: Vec<String> = (0..keys).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| world.note("wanted", key));
    let inputs = keys.into_iter().map(Result1).collect();
    let plan = Plan { inputs, jobs, offset: world.process_id() as usize };
    for result in build_all(&world, &cache, command.order(), plan, Arc::new(|_, _: &_| ())).await {
        result?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(feature = "exhaustive") { 600 } else { 60 }, ..ProptestConfig::default() })]

    #[test]
    fn the_sound_protocol_holds_at_every_size(
        processes in 1..4u32,
        keys in 1..4u32,
        jobs in 1..4u32,
        workers in 1..4u32,
        blocking in 1..3u32,
        builds in 1..4u32,
        swept: bool,
        killed in proptest::option::of(0..3u32),
        seed in any::<u64>(),
    ) {
        // Too few descriptors for one build would be refused; each further build needs so many more.
        let nofile = RESERVE + builds * BUILD;
        let mut scene = scenario("random").directory("/cache").directory("/tmp");
        scene = scene.workers(workers).blocking_threads(blocking).nofile(nofile);
        scene = scene.oracle(|| Builds::once().all_served()).oracle(NoEmfile::default);
        scene = scene.oracle(move || {
            let mut publish = Publish::of("/cache/k*/rev-*/*");
            for key in 0..keys {
                let shard = format!("/cache/k{key}");
                let marker = format!("{shard}/marker");
                let whole = move |fs: &flockstep::KernelView<'_>| {
                    let revision = fs.read(&format!("{shard}/marker")).text().trim_end().to_owned();
                    fs.read(&format!("{shard}/{revision}/out")).text() == "whole"
                };
                publish = publish.marked(&marker, whole);
            }
            publish
        });
        for n in 0..processes {
            scene = scene.process(&format!("p{n}"), move |world| build(world, keys, jobs, swept));
        }
        if let Some(victim) = killed.filter(|&victim| victim < processes) {
            scene = scene.kill(&format!("p{victim}"));
        }
        scene.explore(Strategy::random(25).seed(seed)).assert_upheld();
        scene.explore(Strategy::pct(3, 15).seed(seed)).assert_upheld();
    }
}
