//! Health of the running system, as one line of JSON (schema `synos.health/1`).
//!
//! [`collect`] reads the sources below a root directory with the parsers of [`os_release`], [`procfs`] and [`systemd`];
//! [`health`] judges what was found and writes the JSON; [`server`] and [`client`] pass the line over a Unix socket.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod activation;
pub mod cli;
pub mod client;
pub mod collect;
pub mod command;
pub mod health;
pub mod os_release;
pub mod procfs;
pub mod server;
pub mod sys;
pub mod systemd;

/// Where the service listens and where `synos-agent report` asks.
pub const DEFAULT_SOCKET: &str = "/run/synos-agent.sock";
