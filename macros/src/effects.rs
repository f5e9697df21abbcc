//! What looks like an effect on the world outside, by its name. A hint: it sees names, and no types.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;

use crate::errors::Errors;
use crate::items::is;

/// `parent::name`, wherever the path to the parent begins, called or handed on.
const PATHS: &[(&str, &[&str])] = &[
    ("fs", FILES),
    ("fs_err", FILES),
    ("File", &["create", "create_new", "options"]),
    ("OpenOptions", &["new"]),
    ("TcpStream", &["connect", "connect_timeout"]),
    ("UnixStream", &["connect"]),
    ("reqwest", &["get"]),
    ("blocking", &["get"]),
    ("ureq", &["get", "post", "put", "patch", "delete"]),
];

const FILES: &[&str] = &[
    "write",
    "remove_file",
    "remove_dir",
    "remove_dir_all",
    "rename",
    "copy",
    "create_dir",
    "create_dir_all",
    "hard_link",
    "symlink",
    "set_permissions",
];

/// `.name(…)`
const METHODS: &[&str] = &["execute", "execute_batch", "batch_execute", "send_to"];

/// `.name()`, behind a `Command::new`.
const STARTS: &[&str] = &["spawn", "output", "status"];

/// Points at everything in the body of `function` that looks like an effect.
pub(crate) fn point_at(function: &Ident, body: &Group, errors: &mut Errors) {
    Scan { function, command: false, errors }.stream(body.stream());
}

struct Scan<'a> {
    function: &'a Ident,
    /// There was a `Command::new`.
    command: bool,
    errors: &'a mut Errors,
}

impl Scan<'_> {
    fn stream(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = trees.as_slice();
        while let [tree, tail @ ..] = rest {
            match tree {
                TokenTree::Group(group) => self.stream(group.stream()),
                TokenTree::Ident(parent) => self.path(parent, rest),
                TokenTree::Punct(punct) if punct.as_char() == '.' => self.method(tail),
                _ => {}
            }
            rest = tail;
        }
    }

    fn path(&mut self, parent: &Ident, rest: &[TokenTree]) {
        let [_, first, second, TokenTree::Ident(name), tail @ ..] = rest else { return };
        if !is(first, ':') || !is(second, ':') {
            return;
        }
        // `fs::write::Other` goes on; `fs::write::<P>` ends.
        if matches!(tail, [first, second, TokenTree::Ident(_), ..] if is(first, ':') && is(second, ':')) {
            return;
        }
        self.command |= parent == "Command" && name == "new";
        if PATHS.iter().any(|(known, names)| parent == known && names.iter().any(|known| name == known)) {
            let written = rest.iter().take(4).cloned().collect();
            self.report(written, &format!("{}::{}", parent.unraw(), name.unraw()));
        }
    }

    /// What stands behind a `.`.
    fn method(&mut self, rest: &[TokenTree]) {
        let [TokenTree::Ident(name), tail @ ..] = rest else { return };
        let Some((arguments, tail)) = called(tail) else { return };
        let none = arguments.stream().is_empty();
        let sent = || match tail {
            [question, ..] if is(question, '?') => true,
            [dot, TokenTree::Ident(word), ..] => is(dot, '.') && word == "await",
            _ => false,
        };
        let found = METHODS.iter().any(|known| name == known)
            || (none && name == "send" && sent())
            || (none && self.command && STARTS.iter().any(|known| name == known));
        if found {
            self.report(TokenTree::from(name.clone()).into(), &format!(".{name}({})", if none { "" } else { "…" }));
        }
    }

    fn report(&mut self, written: TokenStream, what: &str) {
        let function = self.function.unraw();
        self.errors.over(
            written,
            format!(
                "`{what}` looks like a raw effect, and `{function}` is `#[unguarded]`, so nobody is asked before it: put \
                 `#[boundary(before_side_effect)]` on the function that does it (`before_cost`, if all it does is cost \
                 money), or say that it is meant with `#[unguarded(reason = \"…\", effects)]`"
            ),
        );
    }
}

/// The arguments of a call, and what stands behind them: `(…)` or `::<T>(…)`.
fn called(rest: &[TokenTree]) -> Option<(&Group, &[TokenTree])> {
    let mut rest = rest;
    if let [first, second, angle, tail @ ..] = rest
        && is(first, ':')
        && is(second, ':')
        && is(angle, '<')
    {
        let mut angles = 1_usize;
        rest = tail;
        while angles > 0 {
            let [tree, tail @ ..] = rest else { return None };
            angles += usize::from(is(tree, '<'));
            angles -= usize::from(is(tree, '>'));
            rest = tail;
        }
    }
    match rest {
        [TokenTree::Group(group), tail @ ..] if group.delimiter() == Delimiter::Parenthesis => Some((group, tail)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;
    use quote::quote;

    use super::*;

    fn found(tokens: TokenStream) -> Vec<String> {
        let mut errors = Errors::default();
        point_at(&Ident::new("f", Span::call_site()), &Group::new(Delimiter::Brace, tokens), &mut errors);
        let what = |message: String| message.split('`').nth(1).unwrap().to_owned();
        crate::tests::messages(errors).into_iter().map(what).collect()
    }

    #[test]
    fn what_looks_like_an_effect_is_found_by_its_name() {
        let tokens = quote! {
            std::fs::write(a, b)?;
            tokio::fs::remove_file::<P>(a).await?;
            if a { { files.iter().for_each(fs::rename) } }
            let file = File::create(a);
            OpenOptions::new().append(true);
            TcpStream::connect(a);
            reqwest::get(a).await;
            client.post(url).body(b).send().await?;
            client.post(url).send()?;
            db.execute("DELETE", [])?;
            db.execute::<Vec<Vec<u8>>>();
            let mut command = Command::new("rm");
            command.arg("-r").spawn()?;
            println!("{}", Command::new("ls").output());
        };
        assert_eq!(
            found(tokens),
            [
                "fs::write",
                "fs::remove_file",
                "fs::rename",
                "File::create",
                "OpenOptions::new",
                "TcpStream::connect",
                "reqwest::get",
                ".send()",
                ".send()",
                ".execute(…)",
                ".execute()",
                ".spawn()",
                ".output()",
            ]
        );
    }

    #[test]
    fn what_only_looks_similar_is_left_alone() {
        let tokens = quote! {
            std::fs::read(a)?;
            fs::write::Options;
            std::fmt::write(a, b);
            write!(f, "fs::write(a)")?;
            let execute = self.execute;
            sender.send(a).await?;
            sender.send();
            response.status();
            let app = Command::new("app");
            app.status(1);
            a.collect::<Vec<_>>();
            f.a::<
        };
        assert_eq!(found(tokens), [""; 0]);
    }
}
