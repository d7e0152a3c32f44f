//! How a source tree says it wants to be built: `[build-system]` of its pyproject.toml.

use super::Failure;
use toml_edit::{Array, DocumentMut, Item};

/// A tree's `[build-system]`, with the defaults of PEP 517 and 518 filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BuildSystem {
    /// What the backend needs, as written.
    pub requires: Vec<String>,
    /// `module` or `module:object`.
    pub backend: String,
    /// Directories of the tree that the backend itself is in, relative to it.
    pub backend_path: Vec<String>,
}

impl BuildSystem {
    /// What a tree without `[build-system]` gets: setup.py, as it was before there were backends.
    fn legacy(requires: Option<Vec<String>>) -> Self {
        // setuptools brings its own bdist_wheel only since version 70.
        let requires = requires.unwrap_or_else(|| vec!["setuptools>=40.8.0".to_owned(), "wheel".to_owned()]);
        BuildSystem { requires, backend: "setuptools.build_meta:__legacy__".to_owned(), backend_path: Vec::new() }
    }

    /// Reads it off a tree or archive at `path` that has this pyproject.toml, and that setup.py or not.
    ///
    /// # Errors
    /// If it has neither, or its pyproject.toml is not as PEP 518 wants it.
    pub fn of(path: &str, pyproject: Option<&str>, has_setup_py: bool) -> Result<Self, Failure> {
        match pyproject {
            Some(text) => Self::parse(text).map_err(|cause| {
                Failure::new(format!("{path}/pyproject.toml"), cause, "correct [build-system], see PEP 518 and PEP 517")
            }),
            None if has_setup_py => Ok(Self::legacy(None)),
            None => Err(Failure::new(
                path,
                "it has neither pyproject.toml nor setup.py",
                "name the top directory of a Python source tree, or a .tar.gz source distribution",
            )),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document: DocumentMut = text.parse().map_err(|error| format!("it is not TOML: {error}"))?;
        let table = match document.get("build-system") {
            None => return Ok(Self::legacy(None)),
            Some(item) => item.as_table_like().ok_or("build-system is not a table")?,
        };
        let requires = match table.get("requires") {
            None => return Err("build-system.requires is missing".to_owned()),
            Some(item) => strings("build-system.requires", item)?,
        };
        let backend_path = match table.get("backend-path") {
            None => Vec::new(),
            Some(item) => strings("build-system.backend-path", item)?,
        };
        match table.get("build-backend") {
            None if backend_path.is_empty() => Ok(Self::legacy(Some(requires))),
            None => Err("build-system.backend-path without build-system.build-backend".to_owned()),
            Some(item) => {
                let backend = item.as_str().ok_or("build-system.build-backend is not a string")?.to_owned();
                Ok(BuildSystem { requires, backend, backend_path })
            }
        }
    }

    /// Whether two hooks must not run on one source tree at once. setuptools writes `build/` and `*.egg-info` into the tree; so may
    /// whatever is built upon it, which it then has among its requirements. Others only read.
    pub fn needs_tree_lock(&self) -> bool {
        let is_setuptools = |name: &str| name == "setuptools";
        let module = self.backend.split([':', '.']).next().unwrap_or_default();
        is_setuptools(module) || self.requires.iter().any(|requirement| is_setuptools(&project(requirement)))
    }
}

/// The normalised project name at the start of a requirement (PEP 508, PEP 503).
fn project(requirement: &str) -> String {
    let end = requirement.trim_start().find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let name = &requirement.trim_start()[..end.unwrap_or(requirement.trim_start().len())];
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// An array of strings without line breaks, which the hook program could not be told apart.
fn strings(name: &str, item: &Item) -> Result<Vec<String>, String> {
    let wrong = || format!("{name} is not an array of strings");
    let array: &Array = item.as_array().ok_or_else(wrong)?;
    array.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BuildSystem, String> {
        BuildSystem::parse(text)
    }

    #[test]
    fn a_backend_and_its_requirements_are_taken_as_written() {
        let system = parse(
            "[build-system]\nrequires = ['hatchling >= 1', \"a; python_version<'3'\"]\nbuild-backend='hatchling.build'",
        );
        let system = system.unwrap();
        assert_eq!(system.requires, ["hatchling >= 1", "a; python_version<'3'"]);
        assert_eq!(system.backend, "hatchling.build");
        assert!(!system.needs_tree_lock());
    }

    #[test]
    fn what_says_nothing_is_built_by_setup_py() {
        for text in ["", "[project]\nname='a'", "[build-system]\nrequires=['setuptools']"] {
            let system = parse(text).unwrap();
            assert_eq!(system.backend, "setuptools.build_meta:__legacy__", "{text}");
            assert!(system.needs_tree_lock());
        }
        assert!(BuildSystem::of("/tree", None, true).is_ok());
    }

    #[test]
    fn a_backend_built_upon_setuptools_needs_the_tree_lock() {
        let system = |requires: &str, backend: &str| {
            parse(&format!("[build-system]\nrequires=['{requires}']\nbuild-backend='{backend}'\nbackend-path=['.']"))
                .unwrap()
        };
        assert!(system("SetupTools>=61", "own_backend").needs_tree_lock());
        assert!(system("setuptools[core] ; python_version>3", "own_backend").needs_tree_lock());
        assert!(!system("setuptools_scm", "hatchling.build").needs_tree_lock());
        assert!(!system("flit_core", "setuptoolsish.build").needs_tree_lock());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("[build-system", "it is not TOML"),
            ("[build-system]\nbuild-backend='a'", "build-system.requires is missing"),
            ("[build-system]\nrequires='a'", "build-system.requires is not an array of strings"),
            ("[build-system]\nrequires=[1]", "build-system.requires is not an array of strings"),
            ("[build-system]\nrequires=[]\nbackend-path=['.']", "without build-system.build-backend"),
            ("build-system=1", "build-system is not a table"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let neither = BuildSystem::of("/tree", None, false).unwrap_err();
        assert_eq!(neither.path, "/tree");
    }
}
