//! What happens to nodes and to the engine until the faults end.

use std::sync::Arc;

use crate::dice::Dice;
use crate::executor::{NodeId, True, nanos};
use crate::trace::Event;
use crate::world::World;

/// Does harm until the faults end.
pub(crate) async fn run(world: Arc<World>, mut dice: Dice) {
    let harm = world.plan.harm.clone();
    let total = harm.pause + harm.crash + harm.restart;
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
            _ => restart(&world, now + nanos(dice.span(unit / 1000, unit)), dice.per_mille(500)),
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

/// The engine stops and is started again.
fn restart(world: &Arc<World>, until: True, tells: bool) {
    if !world.engine_is_up(false) {
        return;
    }
    log(world, "stop the engine for all", 0);
    let later = Arc::clone(world);
    world.executor.at(until.min(world.plan.heal_at - 1), move || {
        log(&later, "start the engine for all", 0);
        later.engine_is_up(true);
        if tells {
            later.server.look();
        }
    });
}
