//! The programs that stage0 starts; each is named as in the stage1 image's manifest.

pub mod app;
pub mod attach;
pub mod enter;
pub mod gc;
pub mod metrics;
pub mod run;
pub mod stop;
