//! Reading a template: Fluent's syntax, what each message may be, and everything that is wrong with it, with the line.

use std::collections::{BTreeMap, BTreeSet};

use fluent_bundle::FluentResource;
use fluent_bundle::concurrent::FluentBundle;
use fluent_syntax::ast::{Entry, Expression, InlineExpression, Pattern, PatternElement};
use serde_json::{Map, Value};
use tidings_shared::push_api::Template;
use unic_langid::LanguageIdentifier;

use super::MAX_LOCALES;
use crate::devices::describe;

/// The message whose attributes are entries of the push's `data`.
pub(super) const DATA: &str = "data";
/// The message that every language has.
const TITLE: &str = "title";

/// What is wrong with a template, all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct Faults(pub(crate) Vec<String>);

/// A template that can be rendered.
pub(crate) struct Compiled {
    pub(super) default: String,
    pub(super) locales: BTreeMap<String, Texts>,
    pub(super) push: Map<String, Value>,
    params: BTreeSet<String>,
}

/// The texts of one language.
pub(super) struct Texts {
    pub(super) bundle: FluentBundle<FluentResource>,
    /// The messages that are fields of the alert.
    pub(super) fields: Vec<String>,
    pub(super) has_data: bool,
    /// The variables of this language.
    pub(super) params: BTreeSet<String>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("default", &self.default).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Reads a template and renders every language once for a trial.
    pub(crate) fn new(template: &Template) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        if template.locales.is_empty() || template.locales.len() > MAX_LOCALES {
            faults.push(format!("`locales` has 1 to {MAX_LOCALES} languages; found {}", template.locales.len()));
        }
        let mut locales = BTreeMap::new();
        for (locale, source) in &template.locales {
            match texts(locale, source) {
                Ok((canonical, texts)) => {
                    if locales.insert(canonical.clone(), texts).is_some() {
                        faults.push(format!("the language {canonical} is there twice"));
                    }
                }
                Err(found) => faults.extend(found),
            }
        }
        let default = describe::locale(&template.default_locale).unwrap_or_else(|_| template.default_locale.clone());
        if faults.is_empty() && !locales.contains_key(&default) {
            let known: Vec<_> = locales.keys().map(String::as_str).collect();
            faults.push(format!(
                "`default_locale` is \"{}\", which is not among `locales`: {}",
                template.default_locale,
                known.join(", ")
            ));
        }
        for name in template.push.keys() {
            let in_texts = locales.values().any(|texts: &Texts| texts.fields.iter().any(|field| field == name));
            if name == "kind" || in_texts {
                faults.push(format!("`push` has \"{name}\", which the texts set"));
            }
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let params = locales.values().flat_map(|texts| texts.params.iter().cloned()).collect();
        let compiled = Self { default, locales, push: template.push.clone(), params };
        match compiled.try_out() {
            faults if faults.is_empty() => Ok(compiled),
            faults => Err(Faults(faults)),
        }
    }

    /// The names of all variables, in order.
    pub(crate) fn params(&self) -> Vec<String> {
        self.params.iter().cloned().collect()
    }

    pub(super) fn knows(&self, param: &str) -> bool {
        self.params.contains(param)
    }
}

/// Reads the texts of one language; gives the language's canonical name with them.
fn texts(locale: &str, source: &str) -> Result<(String, Texts), Vec<String>> {
    let canonical = describe::locale(locale).map_err(|error| vec![error.to_string()])?;
    let language: LanguageIdentifier = canonical.parse().map_err(|_| {
        vec![format!("the language \"{locale}\" has extensions; templates are for plain ones (de, de-AT)")]
    })?;
    let resource = FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| {
        errors
            .iter()
            .map(|error| {
                let (line, message) = place(source, error.pos.start);
                format!("{locale}, line {line}{message}: {}", error.kind)
            })
            .collect::<Vec<_>>()
    })?;
    let mut reading = Reading { locale, source, faults: Vec::new(), params: BTreeSet::new() };
    let (mut fields, mut has_data) = (Vec::new(), false);
    let names = Names::of(&resource);
    for entry in resource.entries() {
        match entry {
            Entry::Message(message) => {
                let name = message.id.name;
                if name == DATA {
                    has_data = true;
                    if message.value.is_some() {
                        reading.fault(name, "it has a text of its own; write its entries as attributes (`.name = …`)");
                    }
                } else if message.value.is_none() {
                    reading.fault(name, "it has no text");
                } else if !message.attributes.is_empty() {
                    reading.fault(name, "it has attributes; only `data` has");
                } else {
                    fields.push(name.to_owned());
                }
                message.value.iter().for_each(|pattern| reading.pattern(name, pattern, &names));
                message.attributes.iter().for_each(|attribute| reading.pattern(name, &attribute.value, &names));
            }
            Entry::Term(term) => {
                reading.pattern(term.id.name, &term.value, &names);
                term.attributes.iter().for_each(|attribute| reading.pattern(term.id.name, &attribute.value, &names));
            }
            _ => {}
        }
    }
    if !fields.iter().any(|field| field == TITLE) {
        reading.faults.push(format!("{locale}: the message `title` is missing: every language has one"));
    }
    let Reading { mut faults, params, .. } = reading;
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // The marks that isolate a variable's writing direction are shown as boxes on some phones.
    bundle.set_use_isolating(false);
    if bundle.add_builtins().is_err() {
        faults.push(format!("{locale}: the functions could not be set up"));
    }
    if let Err(errors) = bundle.add_resource(resource) {
        faults.extend(errors.iter().map(|error| format!("{locale}: {error}")));
    }
    if faults.is_empty() { Ok((canonical, Texts { bundle, fields, has_data, params })) } else { Err(faults) }
}

/// What references may name.
struct Names<'a> {
    messages: BTreeSet<&'a str>,
    terms: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(resource: &'a FluentResource) -> Self {
        let mut names = Self { messages: BTreeSet::new(), terms: BTreeSet::new() };
        for entry in resource.entries() {
            match entry {
                Entry::Message(message) => _ = names.messages.insert(message.id.name),
                Entry::Term(term) => _ = names.terms.insert(term.id.name),
                _ => {}
            }
        }
        names
    }
}

/// Collects variables and faults of one language.
struct Reading<'a> {
    locale: &'a str,
    source: &'a str,
    faults: Vec<String>,
    params: BTreeSet<String>,
}

impl Reading<'_> {
    fn fault(&mut self, name: &str, what: &str) {
        let line = self.source.lines().position(|line| {
            let line = line.trim_start_matches('-');
            line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
        });
        let line = line.map_or_else(String::new, |line| format!(", line {}", line + 1));
        self.faults.push(format!("{}{line}, message `{name}`: {what}", self.locale));
    }

    fn pattern(&mut self, name: &str, pattern: &Pattern<&str>, names: &Names<'_>) {
        for element in &pattern.elements {
            if let PatternElement::Placeable { expression } = element {
                self.expression(name, expression, names);
            }
        }
    }

    fn expression(&mut self, name: &str, expression: &Expression<&str>, names: &Names<'_>) {
        match expression {
            Expression::Inline(inline) => self.inline(name, inline, names),
            Expression::Select { selector, variants } => {
                self.inline(name, selector, names);
                variants.iter().for_each(|variant| self.pattern(name, &variant.value, names));
            }
        }
    }

    fn inline(&mut self, name: &str, inline: &InlineExpression<&str>, names: &Names<'_>) {
        match inline {
            InlineExpression::VariableReference { id } => _ = self.params.insert(id.name.to_owned()),
            InlineExpression::MessageReference { id, .. } if !names.messages.contains(id.name) => {
                self.fault(name, &format!("there is no message `{}`", id.name));
            }
            InlineExpression::TermReference { id, .. } if !names.terms.contains(id.name) => {
                self.fault(name, &format!("there is no term `-{}`", id.name));
            }
            InlineExpression::FunctionReference { id, arguments } => {
                if id.name != "NUMBER" {
                    self.fault(name, &format!("there is no function {}; the one that exists is NUMBER", id.name));
                }
                arguments.positional.iter().for_each(|argument| self.inline(name, argument, names));
                arguments.named.iter().for_each(|argument| self.inline(name, &argument.value, names));
            }
            // A term sees the arguments that it is given and nothing else; they are literals.
            InlineExpression::Placeable { expression } => self.expression(name, expression, names),
            _ => {}
        }
    }
}

/// The line of a place in a resource, counted from 1, and the message that it is in.
fn place(source: &str, at: usize) -> (usize, String) {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    // What is missing at the end of a line is noticed at the beginning of another.
    at = source[..at].trim_end().len();
    let before = &source[..at];
    let line = before.matches('\n').count() + 1;
    let line_end = source[at..].find('\n').map_or(source.len(), |end| at + end);
    let message = source[..line_end].lines().rev().find_map(|line| {
        let (name, _) = line.split_once('=')?;
        let name = name.trim_end();
        (name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '-') && !name.contains(' '))
            .then(|| name.to_owned())
    });
    (line, message.map_or_else(String::new, |name| format!(", message `{name}`")))
}
