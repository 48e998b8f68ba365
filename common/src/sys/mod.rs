//! Delicate system calls behind safe interfaces. All unsafe code outside of `rebind` is here, and each block
//! states the facts that make it sound.
#![allow(unsafe_code)]

pub mod heap;
pub mod inherited;
pub mod listener;
pub mod locked_memory;
pub mod memory_file;
pub mod peer;
pub mod reactor;
pub mod rehearsal;
pub mod scheduling;
pub mod seqpacket;
pub mod session;
pub mod stream;
