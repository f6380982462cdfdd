//! The long documents, versioned with the crate.

pub mod design {
    #![doc = include_str!("design.md")]
}

pub mod format {
    #![doc = include_str!("format.md")]
}

pub mod durability {
    #![doc = include_str!("durability.md")]
}

pub mod campaign {
    #![doc = include_str!("CAMPAIGN.md")]
}

pub mod retention {
    #![doc = include_str!("retention.md")]
}

pub mod stores {
    #![doc = include_str!("stores.md")]
}

pub mod followers {
    #![doc = include_str!("followers.md")]
}

pub mod kafka {
    #![doc = include_str!("kafka.md")]
}

#[cfg(feature = "kafka")]
pub mod uplink {
    #![doc = include_str!("uplink.md")]
}

#[cfg(feature = "typed")]
pub mod typed {
    #![doc = include_str!("typed.md")]
}

pub mod c {
    #![doc = include_str!("c.md")]
}

pub mod smaller {
    #![doc = include_str!("smaller.md")]
}

pub mod performance {
    #![doc = include_str!("performance.md")]
}

pub mod hacking {
    #![doc = include_str!("hacking.md")]
}
