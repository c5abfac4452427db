//! TLS of a connection: its beginning, what octets under it come to, its failure.

use super::Connection;
use crate::ring::Ring;
use crate::shard::context::Context;
use crate::shard::inflow::{Progress, Refusal};
use crate::shard::serving::Serving;
use crate::shard::transport::{Fault, count_failure};
use crate::smtp::question::{Asked, Encryption};
use crate::tls::{Cause, TLS12, Tls};

impl Connection {
    /// The session asks whether TLS can begin. If it can, the replies so far are the last in plaintext.
    pub(super) fn answer_tls<R: Ring>(&mut self, asked: Asked<Encryption>, context: &mut Context<R>) {
        let tls = self.inflow.make_tls();
        let is_awaited = self.serving.resolve(asked, tls.is_some(), context);
        if let Some(tls) = tls.filter(|_| is_awaited) {
            self.secure(tls, context);
        }
    }

    /// Implicit TLS begins.
    pub(super) fn begin_tls<R: Ring>(&mut self, context: &mut Context<R>) {
        match self.inflow.make_tls() {
            Some(tls) => self.secure(tls, context),
            None => self.break_off(Cause::Other.into(), context),
        }
    }

    fn secure<R: Ring>(&mut self, tls: Tls, context: &mut Context<R>) {
        self.stopwatch.begin_handshake(context.turn.now);
        let said = self.serving.replies.replace(Vec::new());
        let secured = self.inflow.secure(tls, said, &mut context.pool, &mut context.turn.handshakes);
        self.handle_progress(secured.map_err(Refusal::Fault), context);
    }

    /// Goes on with what octets under TLS came to.
    pub(super) fn handle_progress<R: Ring>(
        &mut self,
        progress: Result<Progress, Refusal>,
        context: &mut Context<R>,
    ) {
        let Progress { negotiated, ended } = match progress {
            Ok(progress) => progress,
            Err(Refusal::Fault(fault)) => return self.break_off(fault, context),
            Err(Refusal::NoRoom) => {
                context.metrics.held_refusals.add(1);
                return self.serve(context, |serving, _| serving.cut_off());
            }
        };
        if let Some(facts) = negotiated {
            context.metrics.tls_handshakes.add(1);
            context.metrics.tls_resumptions.add(u64::from(facts.resumed));
            if facts.version == TLS12 {
                context.metrics.tls12_handshakes.add(1);
                context.metrics.tls12_resumptions.add(u64::from(facts.resumed));
            }
            self.stopwatch.end_handshake(context.turn.now, &context.metrics);
            let Serving { session, replies, .. } = &mut self.serving;
            let step = session.handle_tls(facts, replies, context.turn.now);
            self.serving.follow(&step);
            self.end_with_session(context);
        }
        // The client sends nothing more; what it asked for is answered.
        if ended {
            self.course.end_input();
        }
    }

    /// TLS failed. Nothing that was begun is finished.
    pub(super) fn break_off<R>(&mut self, fault: Fault, context: &mut Context<R>) {
        count_failure(&context.metrics, fault.cause);
        self.serving.replies.clear();
        self.serving.session.handle_end_of_input();
        self.inflow.transport.break_off(fault);
        self.flush(context);
    }

    /// The connection ends. One in its handshake has failed, for this cause.
    pub(super) fn give_up_handshake<R>(&mut self, cause: Cause, context: &Context<R>) {
        if self.inflow.transport.give_up_handshake(cause) {
            count_failure(&context.metrics, cause);
        }
    }
}
