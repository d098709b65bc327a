// SPDX-License-Identifier: Apache-2.0
//! What every task may have and hardly any has: it takes no memory before there is something in it.

/// Perhaps one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rare<T>(Option<Box<T>>);

impl<T> Rare<T> {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn of(rare: T) -> Self {
        Self(Some(Box::new(rare)))
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// That which there is, and from now on there is one.
    pub(crate) fn make(&mut self) -> &mut T
    where
        T: Default,
    {
        self.0.get_or_insert_default()
    }

    /// Leaves none.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take().map(|rare| *rare)
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self::NONE
    }
}
