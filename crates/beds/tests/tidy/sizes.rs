//! Names and sizes: one type of a name in each crate, and functions that fit on a screen.
//!
//! Not here: the size of files (main.rs).

use std::collections::BTreeMap;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemEnum, ItemFn, ItemStruct, ItemTrait, ItemType, Signature};

use crate::{crate_sources, without_tests};

/// Lines of a function, with its signature.
const MOST_LINES: usize = 60;

/// Longer functions, with the reason.
const LONGER: &[(&str, &str, &str)] = &[
    ("trail/src/audit/tests.rs", "every_attack_is_found_and_located", "one table of attacks"),
    (
        "adapters/src/rel/lint/tests.rs",
        "what_ends_the_transaction_is_refused",
        "one table of statements",
    ),
    ("adapters/src/rel/error.rs", "meaning", "one table of the server's codes"),
    ("adapters/src/rel/convert.rs", "convert", "one table of types"),
];

#[test]
fn a_type_name_stands_once_in_a_crate() {
    let mut places: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (file, text) in crate_sources() {
        let (krate, room) = file.split_once("/src/").unwrap();
        for name in found(&text).types {
            places.entry((krate.to_owned(), name)).or_default().push(room.to_owned());
        }
    }
    for ((krate, name), rooms) in places {
        // The two stores are twins, room by room.
        let is_of_twins = rooms.len() == 2
            && rooms.iter().any(|room| room.starts_with("rec/"))
            && rooms.iter().all(|room| {
                room.replacen("rec/", "rel/", 1) == rooms[0].replacen("rec/", "rel/", 1)
            });
        assert!(
            rooms.len() == 1 || is_of_twins,
            "{krate} has more than one type {name}: {rooms:?}"
        );
    }
}

#[test]
fn a_function_fits_on_a_screen() {
    let mut longer = Vec::new();
    for (file, text) in crate_sources() {
        for (name, lines) in found(without_tests(&text)).functions {
            if lines > MOST_LINES
                && !LONGER.iter().any(|(place, function, _)| *place == file && *function == name)
            {
                longer.push(format!("{file}: {name} has {lines} lines"));
            }
        }
    }
    assert!(longer.is_empty(), "{}", longer.join("\n"));
}

fn found(text: &str) -> Found {
    let mut found = Found::default();
    found.visit_file(&syn::parse_file(text).unwrap());
    found
}

#[derive(Default)]
struct Found {
    types: Vec<String>,
    functions: Vec<(String, usize)>,
}

impl Found {
    fn function(&mut self, signature: &Signature, block: &Block) {
        let lines = block.span().end().line - signature.span().start().line + 1;
        self.functions.push((signature.ident.to_string(), lines));
    }
}

impl Visit<'_> for Found {
    fn visit_item_struct(&mut self, item: &ItemStruct) {
        self.types.push(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &ItemEnum) {
        self.types.push(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &ItemTrait) {
        self.types.push(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &ItemType) {
        self.types.push(item.ident.to_string());
    }

    fn visit_item_fn(&mut self, item: &ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}
