//! Child processes.

use super::*;

/// A child that has not been waited for.
pub struct SimChild {
    world: SimWorld,
    pid: Pid,
    descriptors: Vec<SimFile>,
    waited: bool,
}

impl Drop for SimChild {
    fn drop(&mut self) {
        if self.waited {
            return;
        }
        if let Some(mut state) = self.world.acting() {
            state.kill(self.pid);
        }
    }
}

impl Children for SimWorld {
    type Child = SimChild;

    async fn spawn_child(&self, command: Command<'_, SimFile>) -> Result<SimChild> {
        let launch = Launch {
            argv: command.argv,
            env: command.env,
            current_dir: command.current_dir,
            capture: command.output == Stdio::Capture,
            passed: command.inherit.iter().map(|file| file.number()).collect(),
        };
        let launch = self.machine().launch(launch);
        let ret = self.call(Op::Fork { launch }, |_, ret| ret).await?;
        let (pid, descriptors) = expect!(ret.large(), Large::Child { pid, descriptors } => (pid, descriptors));
        let descriptors = descriptors.into_iter().map(|fd| self.file(fd)).collect();
        Ok(SimChild { world: self.clone(), pid, descriptors, waited: false })
    }
    async fn wait(&self, mut child: SimChild) -> Result<Output> {
        let ret = self.infallible(Op::Wait { pid: child.pid }).await;
        child.waited = true;
        child.descriptors.clear();
        Ok(expect!(ret.large(), Large::Output(output) => output))
    }
    async fn kill(&self, child: &SimChild) -> Result<()> {
        self.infallible(Op::KillChild { pid: child.pid }).await;
        Ok(())
    }
    fn child_id(&self, child: &SimChild) -> u32 {
        child.pid
    }
}
