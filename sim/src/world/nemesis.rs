//! What happens to nodes and to the engine until the faults end.

use std::sync::Arc;
use std::time::Duration;

use crate::dice::Dice;
use crate::executor::{NodeId, True, nanos};
use crate::trace::Event;
use crate::world::World;
use crate::world::plan::Trouble;

/// A node that starts without its data was away at least for so long: proposals run a little ahead of the clocks.
const CLOCK_AHEAD: Duration = Duration::from_millis(50);

/// Does harm until the faults end.
pub(crate) async fn run(world: Arc<World>, mut dice: Dice) {
    let harm = world.plan.harm.clone();
    let total = harm.pause + harm.crash + harm.restart + harm.cut;
    if total == 0 {
        return;
    }
    loop {
        world.executor.sleep(dice.span(harm.every / 2, harm.every * 2)).await;
        let now = world.executor.now();
        if now + 1 >= world.plan.heal_at {
            return;
        }
        let node = dice.below(world.plan.tasks.len() as u64) as NodeId;
        let unit = world.plan.unit;
        match dice.below(total) {
            pick if pick < harm.pause => pause(&world, node, now + nanos(dice.span(unit / 20, unit * 2))),
            pick if pick < harm.pause + harm.crash => {
                crash(&world, node, now + nanos(dice.span(unit / 1000, unit)));
            }
            pick if pick < total - harm.cut => {
                let until = now + nanos(dice.span(unit / 1000, unit));
                restart(&world, until, dice.per_mille(500), &mut dice);
            }
            _ => cut(&world, node, now + nanos(dice.span(unit / 20, unit * 2)), &mut dice),
        }
    }
}

fn log(world: &World, what: &'static str, node: NodeId) {
    world.log.add(world.executor.now(), &Event::Nemesis(what, node));
}

/// A node stops for a while, as under SIGSTOP or while its machine is suspended.
fn pause(world: &Arc<World>, node: NodeId, until: True) {
    log(world, "pause", node);
    world.executor.pause(node);
    let later = Arc::clone(world);
    world.executor.at(until.min(world.plan.heal_at), move || {
        log(&later, "resume", node);
        later.executor.resume(node);
    });
}

/// A node's process dies and is started again.
fn crash(world: &Arc<World>, node: NodeId, until: True) {
    if !world.crash(node) {
        return;
    }
    log(world, "crash", node);
    let later = Arc::clone(world);
    world.executor.at(until.min(world.plan.heal_at - 1), move || {
        log(&later, "start", node);
        later.start(node);
    });
}

/// An engine stops and is started again, with or without its data.
fn restart(world: &Arc<World>, until: True, tells: bool, dice: &mut Dice) {
    let engines = world.servers.len() as u64;
    let which = if engines > 1 { dice.below(engines) as usize } else { 0 };
    if !world.engine_is_up(which, false, false) {
        return;
    }
    log(world, "stop engine", which);
    let until = until.min(world.plan.heal_at - 1);
    let lost = world.plan.quorum == Some(Trouble::Losses)
        && dice.per_mille(700)
        && until > world.executor.now() + nanos(CLOCK_AHEAD);
    let later = Arc::clone(world);
    world.executor.at(until, move || {
        log(&later, if lost { "start without its data engine" } else { "start engine" }, which);
        later.engine_is_up(which, true, lost);
        if tells {
            later.servers[which].look();
        }
    });
}

/// Some of the nodes of a quorum cannot be reached from a node.
fn cut(world: &Arc<World>, node: NodeId, until: True, dice: &mut Dice) {
    for (which, server) in world.servers.iter().enumerate().filter(|_| dice.per_mille(500)) {
        log(world, "cut off from some engine", node);
        server.cut(node, true);
        let later = Arc::clone(world);
        world.executor.at(until.min(world.plan.heal_at), move || {
            log(&later, "reach some engine again", node);
            later.servers[which].cut(node, false);
        });
    }
}
