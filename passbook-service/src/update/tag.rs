//! The tag that devices hand back: `EPOCH.N`, opaque to them.

use crate::store::Clocks;

/// Which passes a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// All of them: it brought no tag, or one that says nothing here.
    All,
    /// Those with a change after this one.
    After(i64),
}

impl Since {
    /// The greatest tag that is not asked for.
    #[must_use]
    pub fn after(self) -> i64 {
        match self {
            Self::All => -1,
            Self::After(tag) => tag,
        }
    }
}

/// A tag as devices see it.
#[must_use]
pub fn tag_text(epoch: &str, tag: i64) -> String {
    format!("{epoch}.{tag}")
}

/// What a device's tag asks for. A tag of another epoch, from the future, or that nobody here wrote asks for all.
#[must_use]
pub fn since(text: Option<&str>, clocks: &Clocks) -> Since {
    let Some((epoch, number)) = text.and_then(|text| text.rsplit_once('.')) else { return Since::All };
    match number.parse::<i64>() {
        // Only the form that we write: no sign, no leading zeros.
        Ok(tag) if epoch == clocks.epoch && (0..=clocks.last_tag).contains(&tag) && number == tag.to_string() => {
            Since::After(tag)
        }
        _ => Since::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clocks(last_tag: i64) -> Clocks {
        Clocks { epoch: "e1".to_owned(), last_tag }
    }

    #[test]
    fn only_our_own_tags_mean_something() {
        assert_eq!(since(Some("e1.7"), &clocks(7)), Since::After(7));
        assert_eq!(since(Some("e1.0"), &clocks(7)), Since::After(0));
        for foreign in [
            "",
            ".",
            "e1",
            "e1.",
            "e1.8",
            "e2.7",
            "7",
            "e1.-1",
            "e1.+7",
            "e1.07",
            "e1.7 ",
            "2026-01-01T00:00:00Z",
            "e1.99999999999999999999",
        ] {
            assert_eq!(since(Some(foreign), &clocks(7)), Since::All, "{foreign}");
        }
        assert_eq!(since(None, &clocks(7)), Since::All);
    }

    proptest! {
        #[test]
        fn a_tag_reads_back_as_itself(epoch in "[0-9a-f]{8}", tag in 0..i64::MAX) {
            let clocks = Clocks { epoch: epoch.clone(), last_tag: tag };
            prop_assert_eq!(since(Some(&tag_text(&epoch, tag)), &clocks), Since::After(tag));
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            prop_assert!((-1..=3).contains(&since(Some(&text), &clocks(3)).after()));
        }
    }
}
