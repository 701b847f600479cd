//! No two files of a crate need each other. A parent and its child may: the child is a room of the parent's house.
//!
//! Not here: which crate may need which (main.rs).

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, UseTree};

use crate::{EDGES, crate_sources};

type Path = Vec<String>;

#[test]
fn no_two_files_need_each_other() {
    for (name, _) in EDGES {
        let rooms = rooms_of(name);
        let needs = needs(&rooms);
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            needs.keys().map(|room| (room, reach(room, &needs))).collect();
        let knot: Vec<String> = reached
            .iter()
            .filter(|(room, others)| others.contains(*room))
            .map(|(room, _)| format!("{} needs {}", room.join("::"), shown(&needs[*room])))
            .collect();
        assert!(knot.is_empty(), "files of {name} need each other:\n{}", knot.join("\n"));
    }
}

#[test]
fn a_knot_would_be_seen() {
    let file = |text: &str| syn::parse_file(text).unwrap();
    let rooms = BTreeMap::from([
        (vec![], file("pub use a::Thing; mod a; mod b;")),
        (
            vec!["a".to_owned()],
            file("use crate::b::{self, Other}; #[cfg(test)] mod tests { use crate::c::X; }"),
        ),
        (vec!["b".to_owned()], file("fn f(thing: crate::Thing) {}")),
        (vec!["c".to_owned()], file("fn f() { super::a::g() }")),
    ]);
    let needs = needs(&rooms);
    let of = |room: &str| shown(&needs[&vec![room.to_owned()]]);
    assert_eq!((of("a"), of("b"), of("c")), ("b".to_owned(), "a".to_owned(), "a".to_owned()));
    let a = vec!["a".to_owned()];
    assert!(reach(&a, &needs).contains(&a), "a and b need each other");
}

/// The files of a crate by their module paths; the root's is empty.
fn rooms_of(name: &str) -> BTreeMap<Path, File> {
    let prefix = format!("{name}/src/");
    let sources = crate_sources();
    let own = sources
        .iter()
        .filter_map(|(file, text)| Some((file.strip_prefix(&prefix)?.strip_suffix(".rs")?, text)));
    let path = |file: &str| match file {
        "lib" | "main" => Path::new(),
        file => file.split('/').map(str::to_owned).collect(),
    };
    own.map(|(file, text)| (path(file), syn::parse_file(text).unwrap())).collect()
}

/// The other files that each file names, but for its ancestors and descendants.
fn needs(rooms: &BTreeMap<Path, File>) -> BTreeMap<Path, BTreeSet<Path>> {
    let mut shared = BTreeMap::new();
    for (room, file) in rooms {
        for item in &file.items {
            if let Item::Use(item) = item
                && !matches!(item.vis, syn::Visibility::Inherited)
            {
                for path in expand(&item.tree) {
                    let (Some(name), Some(target)) =
                        (path.last(), resolve(room, &path, rooms, &BTreeMap::new()))
                    else {
                        continue;
                    };
                    shared.insert((room.clone(), name.clone()), target);
                }
            }
        }
    }
    let of_room = |(room, file): (&Path, &File)| {
        let mut names = Names::default();
        names.visit_file(file);
        let needed = names.0.iter().filter_map(|path| resolve(room, path, rooms, &shared));
        let is_stranger = |other: &Path| !other.starts_with(room) && !room.starts_with(other);
        (room.clone(), needed.filter(is_stranger).collect())
    };
    rooms.iter().map(of_room).collect()
}

/// The file that a path leads to from a room: the longest part of it that is a file, through re-exports.
fn resolve(
    room: &Path,
    path: &Path,
    rooms: &BTreeMap<Path, File>,
    shared: &BTreeMap<(Path, String), Path>,
) -> Option<Path> {
    let mut at = match path.first()?.as_str() {
        "crate" => Path::new(),
        "self" | "super" => room.clone(),
        child => {
            let mut own = room.clone();
            own.push(child.to_owned());
            return rooms.contains_key(&own).then(|| deepest(own, &path[1..], rooms, shared));
        }
    };
    let ups = path.iter().take_while(|word| *word == "super").count();
    at.truncate(at.len().saturating_sub(ups));
    Some(deepest(at, &path[ups.max(1)..], rooms, shared))
}

fn deepest(
    mut at: Path,
    rest: &[String],
    rooms: &BTreeMap<Path, File>,
    shared: &BTreeMap<(Path, String), Path>,
) -> Path {
    for word in rest {
        let mut next = at.clone();
        next.push(word.clone());
        if rooms.contains_key(&next) {
            at = next;
        } else {
            return shared.get(&(at.clone(), word.clone())).cloned().unwrap_or(at);
        }
    }
    at
}

fn reach<'n>(from: &Path, needs: &'n BTreeMap<Path, BTreeSet<Path>>) -> BTreeSet<&'n Path> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Path> = needs[from].iter().collect();
    while let Some(room) = next.pop() {
        if reached.insert(room) {
            next.extend(&needs[room]);
        }
    }
    reached
}

fn shown(rooms: &BTreeSet<Path>) -> String {
    rooms.iter().map(|room| room.join("::")).collect::<Vec<_>>().join(", ")
}

/// All paths that a file names outside its tests.
#[derive(Default)]
struct Names(Vec<Path>);

impl Visit<'_> for Names {
    fn visit_item(&mut self, item: &Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        let is_for_tests = |attribute: &Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
        };
        if !attributes.iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.0.extend(expand(&item.tree));
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// The paths of a `use`, one for each name.
fn expand(tree: &UseTree) -> Vec<Path> {
    let behind = |word: String, paths: Vec<Path>| {
        paths.into_iter().map(|path| [vec![word.clone()], path].concat()).collect::<Vec<Path>>()
    };
    match tree {
        UseTree::Path(path) => behind(path.ident.to_string(), expand(&path.tree)),
        // `a::{self}` is `a`.
        UseTree::Name(name) if name.ident == "self" => vec![Path::new()],
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(name) => vec![vec![name.ident.to_string()]],
        UseTree::Glob(_) => vec![Path::new()],
        UseTree::Group(group) => group.items.iter().flat_map(expand).collect(),
    }
}
