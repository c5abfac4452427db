//! Bots of a run, and the arguments of what runs beside another one.

use std::time::Duration;

use super::usage::{UsageError, wrong};
use crate::arguments::load::LoadArguments;
use crate::network::Network;
use crate::proxy::Proxy;
use crate::rate::Rate;
use crate::scenario::act::Act;
use crate::scenario::bots::Bots;
use crate::scenario::mix::Mix;

/// Where bots come from unless they are told: four million addresses of this machine, not that of other
/// clients.
const BOTS_SOURCE: &str = "127.64.0.0/10";

/// The arguments of what runs beside the run of these. `None` when that was not asked for.
pub fn beside(arguments: &LoadArguments) -> Result<Option<LoadArguments>, UsageError> {
    let Some(mix) = &arguments.beside else { return Ok(None) };
    if let Some(rate) = arguments.beside_rate.filter(Rate::is_ramp) {
        return wrong(format!("--beside-rate is one rate, because it has no time of its own, not {rate}"));
    }
    // Without cores of its own it has those of the first class: one, unless it is to have more threads.
    let cpus = match (&arguments.beside_cpus[..], arguments.beside_threads) {
        ([], Some(threads)) => arguments.cpus.iter().cycle().take(threads.get().into()).copied().collect(),
        ([], None) => arguments.cpus.iter().take(1).copied().collect(),
        (own, _) => own.to_vec(),
    };
    // Bots send no mail, and signing takes time.
    let sign = arguments.sign.clone().filter(|_| !has_bots(mix));
    Ok(Some(LoadArguments {
        scenario: mix.clone(),
        sign,
        rate: arguments.beside_rate,
        connections: arguments.beside_connections,
        messages: arguments.beside_messages,
        // It ends with the other one, whatever that takes.
        duration: Some(Duration::from_secs(u32::MAX.into())),
        per_connection: None,
        settle: None,
        source: arguments.beside_source,
        proxy_clients: arguments.beside_proxy_clients.unwrap_or(arguments.proxy_clients),
        threads: arguments.beside_threads,
        cpus,
        ..arguments.clone()
    }))
}

/// The bots of a run, if its sessions are bots.
pub fn bots(arguments: &LoadArguments) -> Result<Option<&'static Bots>, UsageError> {
    let mix = &arguments.scenario;
    if !has_bots(mix) {
        return Ok(None);
    }
    if mix.0.len() > 1 {
        return wrong("bots share their threads with no other scenario: --beside bots runs them beside it");
    }
    let proxy = arguments.proxy.map(|version| Proxy { version, clients: arguments.proxy_clients });
    let drawn = (arguments.bots.clone().unwrap_or_default(), arguments.bot_time, arguments.seed);
    Ok(Some(Box::leak(Box::new(Bots::new(drawn, proxy, &arguments.from, &arguments.unknown)))))
}

/// Addresses to connect from. `is_ipv4` says of which family the target is.
pub fn source(arguments: &LoadArguments, is_ipv4: bool) -> Option<Network> {
    let of_bots = || BOTS_SOURCE.parse().ok().filter(|_| is_ipv4 && has_bots(&arguments.scenario));
    arguments.source.or_else(of_bots)
}

fn has_bots(mix: &Mix) -> bool {
    mix.0.iter().any(|(row, _)| row.act == Act::Bots)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::CommandLine;
    use crate::plan::Plan;

    fn planned(arguments: &str) -> Result<Plan, String> {
        let line = format!("loadgen 127.0.0.1:25 {arguments}");
        let line = CommandLine::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        Plan::new(&line.load.expect("a load")).map_err(|error| error.0)
    }

    #[test]
    fn the_second_class_has_what_it_was_given_and_shares_the_core() {
        let plan =
            planned("--rate 9/s -m 5 --source 127.0.0.9 --beside bots --beside-rate 7/s").expect("a plan");
        let beside = plan.beside.as_ref().expect("a second class");
        assert_eq!(
            (plan.rate.map(|rate| rate.first), plan.is_beside, plan.bots.is_some()),
            (Some(9.0), false, false)
        );
        let second = &beside.plan;
        assert_eq!((second.rate.map(|rate| rate.first), second.is_beside), (Some(7.0), true));
        assert_eq!((second.connections(), second.messages, second.beside.is_some()), (1000, None, false));
        assert_eq!(second.threads[0].cpu, plan.threads[0].cpu);
        // Not those of the first class: what bots do must not be held against it.
        assert_eq!(second.source, BOTS_SOURCE.parse().ok());
        let plan = planned("--scenario bots --bots silent --bot-time 3s").expect("a plan");
        assert_eq!(plan.bots.map(Bots::describe), Some("silent:1; at most 3s".to_owned()));
        assert_eq!(plan.source, BOTS_SOURCE.parse().ok());
    }

    #[test]
    fn what_makes_no_mix_is_told() {
        for (arguments, words) in [
            ("--scenario bots,idle", "--beside bots"),
            ("--scenario bots --bots study", "there are refused"),
            ("--beside-rate 5/s", "--beside"),
            ("--beside bots --beside-rate 1/s..5/s", "one rate"),
            ("--beside bots --beside-connections 0", "--beside: --connections"),
            ("--beside bots --beside-source 192.0.2.1", "--i-own-this-host"),
            ("--beside bots --beside-cpus 999", "may not run on core 999"),
        ] {
            let told = planned(arguments).expect_err(arguments);
            assert!(told.contains(words), "{arguments}: {told}");
        }
    }
}
