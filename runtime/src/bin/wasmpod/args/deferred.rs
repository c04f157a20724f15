//! Arguments that are described only when their verb is given.

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::ops::Deref;

/// The flags of one verb. To describe those of all verbs at every start takes longer than to read the few that were given.
///
/// By clap's own attribute `defer` the documentation of the flags' type would replace that of the verb.
#[derive(Debug)]
pub(crate) struct Deferred<A>(Box<A>);

impl<A> Deferred<A> {
    /// The flags themselves.
    pub(crate) fn into_inner(self) -> A {
        *self.0
    }
}

impl<A> Deref for Deferred<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A: Args> Args for Deferred<A> {
    fn group_id() -> Option<clap::Id> {
        A::group_id()
    }

    fn augment_args(verb: Command) -> Command {
        verb.defer(described::<A>)
    }

    fn augment_args_for_update(verb: Command) -> Command {
        Self::augment_args(verb)
    }
}

impl<A: FromArgMatches> FromArgMatches for Deferred<A> {
    fn from_arg_matches(given: &ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches(given).map(|arguments| Self(Box::new(arguments)))
    }

    fn from_arg_matches_mut(given: &mut ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches_mut(given).map(|arguments| Self(Box::new(arguments)))
    }

    fn update_from_arg_matches(&mut self, given: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(given)
    }
}

/// The verb with its flags; what is said about it stays what the verb says.
fn described<A: Args>(verb: Command) -> Command {
    let (about, long_about) = (verb.get_about().cloned(), verb.get_long_about().cloned());
    A::augment_args(verb).about(Resettable::from(about)).long_about(Resettable::from(long_about))
}
