//! TLS of a connection: it begins, goes on with what came, is done, or fails.

use super::Connection;
use crate::ring::Ring;
use crate::shard::context::Context;
use crate::shard::inflow::{Progress, Refusal};
use crate::shard::serving::Serving;
use crate::shard::transport::{Fault, count_failure, count_handshake};
use crate::smtp::question::{Encryption, OpenQuestion};
use crate::tls::{Cause, Tls};

impl Connection {
    /// The session asks whether TLS can begin. If it can, the replies so far are the last in plaintext.
    pub(super) fn answer_tls<R: Ring>(&mut self, asked: OpenQuestion<Encryption>, context: &mut Context<R>) {
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
            count_handshake(&context.metrics, &facts);
            self.stopwatch.end_handshake(context.turn.now, &context.metrics);
            let Serving { session, replies, .. } = &mut self.serving;
            session.handle_tls(facts, replies, context.turn.now);
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
        // Nobody is told of it any more.
        self.serving.take_outcome();
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
