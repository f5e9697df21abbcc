//! Who comes from whom, over parents and creators.
//!
//! # Invariants
//! 1. Both links of a place lead to places that were added before it. So every walk along links ends.
//! 2. A place's *trunk* is its first link. Along trunks the places are a forest, in which `jump` leads to an ancestor that is
//!    chosen so that every ancestor is reached in steps of the order of the logarithm of the height.
//! 3. `branch` is the nearest place, itself or up its trunk, that has a second link. Most have none: parent and creator
//!    are the same task, or only one is named.

/// A place in the tree. Later places have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

#[derive(Debug, Default)]
pub(super) struct Tree(Vec<Branching>);

#[derive(Debug)]
struct Branching {
    /// How far it is to the root, along trunks.
    height: u32,
    trunk: Option<Place>,
    jump: Option<Place>,
    second: Option<Place>,
    branch: Option<Place>,
}

impl Tree {
    /// A new place that comes from up to two others.
    pub(super) fn add(&mut self, links: [Option<Place>; 2]) -> Place {
        let place = Place(u32::try_from(self.0.len()).unwrap_or_else(|_| panic!("more than four billion tasks")));
        let mut links = links.into_iter().flatten();
        let trunk = links.next();
        let second = links.next().filter(|&second| Some(second) != trunk);
        let height = trunk.map_or(0, |trunk| self.at(trunk).height + 1);
        let branch = if second.is_some() { Some(place) } else { trunk.and_then(|trunk| self.at(trunk).branch) };
        let jump = trunk.map(|trunk| self.jump_over(trunk));
        self.0.push(Branching { height, trunk, jump, second, branch });
        place
    }

    /// Two jumps of the same length are joined to one; else the jump is one step (as in a skew-binary list).
    fn jump_over(&self, trunk: Place) -> Place {
        let height = |place: Place| self.at(place).height;
        let two_jumps = self.at(trunk).jump.and_then(|near| Some((near, self.at(near).jump?)));
        match two_jumps {
            Some((near, far)) if height(trunk) - height(near) == height(near) - height(far) => far,
            Some(_) | None => trunk,
        }
    }

    /// `true` if `to` is `from`, or one of those that it comes from.
    pub(super) fn reaches(&self, from: Place, to: Place) -> bool {
        let mut open = vec![from];
        let mut seen = std::collections::HashSet::new();
        while let Some(start) = open.pop() {
            if self.is_up_the_trunk(start, to) {
                return true;
            }
            // Every second link up this trunk is one more start. What was there before `to` can't come from it (invariant 1).
            let mut next = self.at(start).branch;
            while let Some(branch) = next.filter(|&branch| branch > to && seen.insert(branch.0)) {
                let Branching { trunk, second, .. } = self.at(branch);
                open.extend(second.filter(|&second| second >= to));
                next = trunk.and_then(|trunk| self.at(trunk).branch);
            }
        }
        false
    }

    fn is_up_the_trunk(&self, from: Place, to: Place) -> bool {
        let height = self.at(to).height;
        let mut here = from;
        while self.at(here).height > height {
            let Branching { trunk, jump, .. } = self.at(here);
            let jump = jump.filter(|&jump| self.at(jump).height >= height);
            // A place above the root's height has a trunk (invariant 2).
            let Some(up) = jump.or(*trunk) else { return false };
            here = up;
        }
        here == to
    }

    fn at(&self, place: Place) -> &Branching {
        // Places are made by `add` alone, and nothing is taken away.
        &self.0[place.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_trunk_is_climbed_in_few_steps() {
        let mut tree = Tree::default();
        let mut last = tree.add([None, None]);
        for _ in 0..100_000 {
            last = tree.add([Some(last), None]);
        }
        let (mut here, mut steps) = (last, 0);
        while let Some(up) = tree.at(here).jump.or(tree.at(here).trunk) {
            here = up;
            steps += 1;
        }
        assert!(steps <= 34, "{steps}");
        assert!(tree.reaches(last, Place(0)) && tree.reaches(last, Place(77_777)));
        assert!(!tree.reaches(Place(77_777), last));
    }

    proptest! {
        /// The plain walk over every link says the same.
        #[test]
        fn it_answers_as_the_plain_walk_does(links in prop::collection::vec((any::<u32>(), any::<u32>(), 0..4), 1..60)) {
            let mut tree = Tree::default();
            let mut plain: Vec<Vec<Place>> = Vec::new();
            for (a, b, how) in links {
                let before = plain.len() as u32;
                let pick = |number: u32| (before > 0).then(|| Place(number % before));
                let both = match how {
                    0 => [pick(a), None],
                    1 => [None, pick(b)],
                    2 => [pick(a), pick(b)],
                    _ => [before.checked_sub(1).map(Place), None],
                };
                tree.add(both);
                plain.push(both.into_iter().flatten().collect());
            }
            for from in 0..plain.len() {
                let mut reached = vec![false; plain.len()];
                let mut open = vec![from];
                while let Some(here) = open.pop() {
                    if !std::mem::replace(&mut reached[here], true) {
                        open.extend(plain[here].iter().map(|place| place.0 as usize));
                    }
                }
                for (to, &reached) in reached.iter().enumerate() {
                    prop_assert_eq!(tree.reaches(Place(from as u32), Place(to as u32)), reached, "{} to {}", from, to);
                }
            }
        }
    }
}
