//! What the schedule wants: connections opened, messages begun, connections closed, messages moved.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::Engine;
use super::connection::{Connection, Current, Use};
use super::counted::before_transmit;
use super::hand::{Arrived, Down, InHand, Kind, Pending, cursor_of, seconds};
use super::notices::Ended;
use crate::client::{self, Client, Loss, Phase};
use crate::config::forward::HopPlace;
use crate::forward::keep::{Change, Place, Recipients, Wait, Why};
use crate::forward::schedule::{self, ConnectionId, Delivery, DestinationId, Order};
use crate::forward::sought::{Asked, Found, Sought};
use crate::metrics::Attempt;
use crate::ring::{Ring, Socket, Token};
use crate::timestamp;

/// An address, and a connection to it, are waited for so long each.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(30);

impl<R: Ring> Engine<R> {
    /// Takes orders until there are none.
    pub(super) fn carry_out_orders(&mut self) {
        while self.takes_orders()
            && let Some(order) = self.schedule.next(self.now)
        {
            match order {
                Order::Connect { connection, destination, host } => self.open(connection, destination, host),
                Order::Deliver { connection, delivery } => self.deliver(connection, delivery),
                Order::Close { connection } => self.close(connection),
                Order::MoveToLater { deliveries } => {
                    for delivery in deliveries {
                        self.move_to_later(delivery);
                    }
                }
                Order::Expire { delivery } => self.expire(delivery),
            }
        }
    }

    fn open(&mut self, id: ConnectionId, destination: DestinationId, host: usize) {
        let is_plain = self.plain_until.get(&(destination, host)).is_some_and(|until| self.now < *until);
        let slot = self.enter(id, (destination, host), is_plain);
        let place = self.routes.all()[usize::from(destination.0)].to[host].place.clone();
        match place {
            HopPlace::Maildir(_) | HopPlace::Stream(..) => self.open_store(slot, &place),
            HopPlace::Unix(path) => self.connect_unix(slot, &path),
            HopPlace::Host(name, port) => {
                if let Ok(address) = name.parse::<IpAddr>() {
                    return self.connect(slot, SocketAddr::new(address, port));
                }
                self.resolve(slot, (name, port), Sought::Addresses);
            }
            HopPlace::Mx(domain, port) => self.resolve(slot, (domain, port), Sought::Exchangers),
        }
    }

    /// A connection that does nothing yet; whether nothing is said of TLS on it.
    pub(super) fn enter(
        &mut self,
        id: ConnectionId,
        (destination, host): (DestinationId, usize),
        is_plain: bool,
    ) -> usize {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let mut settings = Arc::clone(&self.hosts[usize::from(destination.0)][host]);
        if is_plain {
            settings = Arc::new(client::Settings { tls: client::Tls::Off, ..(*settings).clone() });
        }
        let client = Client::new(settings);
        let token = Token::new(slot as u64);
        let connection = Connection::new(id, token, (destination, host), client, self.now);
        self.connections[slot] = Some(connection);
        self.by_id.insert(id, slot);
        slot
    }

    fn resolve(&mut self, slot: usize, (host, port): (String, u16), sought: Sought) {
        let (number, deadline) = (self.number(), self.now + CONNECT_WAIT_MAX);
        if let Some(one) = &mut self.connections[slot] {
            one.used_for = Use::Resolving(number);
            one.deadline = Some(deadline);
        }
        let asked = Asked { number, slot, host, sought, port, deadline };
        // There are fewer connections than places.
        if self.ends.questions.send_and_ring(asked).is_err() {
            self.fail_to_connect(slot, "names are not resolved any more");
        }
    }

    /// The addresses of names came.
    pub(super) fn take_addresses(&mut self) {
        while let Some(answered) = self.ends.addresses.next() {
            let slot = answered.slot;
            // The connection that asked may have been given up, and its slot be another's.
            let waits = |one: &Connection| one.used_for == Use::Resolving(answered.number);
            if !self.connections[slot].as_ref().is_some_and(waits) {
                continue;
            }
            match answered.found {
                // Another one with each connection: one of them may be dead.
                Ok(Found::Addresses(found)) if !found.is_empty() => {
                    let turn = usize::try_from(answered.number).unwrap_or_default();
                    let address = found[turn % found.len()];
                    self.connect(slot, address);
                }
                Ok(Found::Addresses(_)) => self.fail_to_connect(slot, "its name has no address"),
                Ok(Found::Exchangers(found)) => self.try_exchangers(slot, found),
                Ok(Found::NoMail(why)) => self.take_no_mail(slot, why),
                Err(why) => self.fail_to_connect(slot, &why),
            }
        }
    }

    pub(super) fn connect(&mut self, slot: usize, address: SocketAddr) {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        match socket(family) {
            Ok(socket) => {
                let Some(one) = &mut self.connections[slot] else { return };
                one.socket = Some(socket);
                one.used_for = Use::Connecting;
                // A connect completes as a send does: once.
                one.is_sending = true;
                one.deadline = Some(self.now + CONNECT_WAIT_MAX);
                self.ring.connect(socket, address, one.token);
            }
            Err(error) => self.fail_to_connect(slot, &format!("no socket: {error}")),
        }
    }

    /// Such a connect is done at once, or not at all.
    fn connect_unix(&mut self, slot: usize, path: &Path) {
        let connected = socket_unix(path);
        let Some(one) = &mut self.connections[slot] else { return };
        match connected {
            Ok(socket) => {
                one.socket = Some(socket);
                self.handle_open(slot);
            }
            Err(error) => {
                let why = format!("{}: {}", path.display(), std::io::Error::from(error));
                self.fail_to_connect(slot, &why);
            }
        }
    }

    /// A connection stands: its session begins.
    pub(super) fn handle_open(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.used_for = Use::Opening;
        one.receive(&mut self.ring);
        self.advance(slot);
    }

    /// No session came to be.
    pub(super) fn fail_to_connect(&mut self, slot: usize, why: &str) {
        if self.leave_exchanger(slot) {
            return;
        }
        let Some(one) = &mut self.connections[slot] else { return };
        let of_exchanger = one.exchanger.as_ref().map(|exchanger| format!("{exchanger}: {why}"));
        let why = of_exchanger.as_deref().unwrap_or(why);
        let id = one.id;
        let (destination, host) = (one.destination, one.host);
        self.forget(slot);
        self.schedule.connect_failed(id, why, self.now);
        self.count_attempt(destination, Attempt::NoSession);
        self.tell_down(destination, host, Down::NoSession, why);
    }

    /// The schedule knows the connection no more. Its socket is closed when the kernel is done with it.
    pub(super) fn forget(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        self.by_id.remove(&one.id);
        one.abandon(&mut self.ring);
        self.release(slot);
    }

    /// Closes the socket of a connection that is gone, if nothing is under way on it.
    pub(super) fn release(&mut self, slot: usize) {
        let is_done = |one: &Connection| one.used_for == Use::Gone && one.is_still();
        if !self.connections[slot].as_ref().is_some_and(is_done) {
            return;
        }
        if let Some(socket) = self.connections[slot].take().and_then(|one| one.socket) {
            self.ring.close(socket);
        }
        self.free_slots.push(slot);
    }

    fn deliver(&mut self, id: ConnectionId, delivery: Delivery) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        if self.connections[slot].as_ref().is_none_or(|one| one.is_spent || one.end.is_some()) {
            let why = "the server takes no further message on this connection";
            self.forget(slot);
            self.schedule.finished(id, schedule::Ended::Untouched(why), self.now);
            return;
        }
        match delivery.place {
            schedule::Place::Log(key) => {
                let found = self.mail.get(&key).and_then(|mail| {
                    let part =
                        mail.parts.iter().find(|(destination, _)| *destination == delivery.destination);
                    part.map(|(_, recipients)| (Rc::clone(&mail.message), recipients.clone()))
                });
                match found {
                    Some((message, recipients)) => self.begin(slot, delivery, message, &recipients),
                    None => self.drop_delivery(slot, "it is not in the window"),
                }
            }
            schedule::Place::Later(key) => {
                let number = self.fetch(Kind::Fetch(slot), Place::Later(cursor_of(key)));
                if let Some(one) = &mut self.connections[slot] {
                    one.used_for = Use::Fetching(delivery, number);
                }
            }
        }
    }

    /// A message that waited was read.
    pub(super) fn begin_fetched(&mut self, slot: usize, (number, place): (u64, Place), fetched: Arrived) {
        let Some(one) = &self.connections[slot] else { return };
        let Use::Fetching(delivery, asked) = one.used_for else { return };
        // The connection that it was read for may have ended, and its slot be another's.
        if asked != number {
            return;
        }
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(why) => return self.put_off(slot, &why),
        };
        let envelope = &fetched.envelope.envelope;
        let recipients = self.routes.waiting_for(delivery.destination, envelope, &fetched.waits);
        let recipients = self.without_answered(place, recipients);
        if recipients.is_empty() {
            return self.drop_delivery(slot, "nobody waits for it there any more");
        }
        let message = InHand { place, envelope: fetched.envelope, content: fetched.content };
        self.begin(slot, delivery, Rc::new(message), &recipients);
    }

    /// A message that cannot be read just now.
    fn put_off(&mut self, slot: usize, why: &str) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.used_for = Use::Idle;
        let id = one.id;
        self.report.note(&format!("a message that waits cannot be read now: {why}"));
        self.schedule.finished(id, schedule::Ended::Deferred, self.now);
    }

    /// A delivery that cannot be begun: it stays where it is until the next start.
    fn drop_delivery(&mut self, slot: usize, why: &str) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.used_for = Use::Idle;
        let id = one.id;
        self.report.note(&format!("a message cannot be delivered now: {why}"));
        self.schedule.finished(id, schedule::Ended::Done, self.now);
    }

    fn begin(&mut self, slot: usize, delivery: Delivery, message: Rc<InHand>, recipients: &Recipients) {
        let Some(one) = &mut self.connections[slot] else { return };
        let age = self.wall_clock.duration_since(message.envelope.received_at).unwrap_or_default();
        let (queued, connect) = before_transmit(age, one.connect.take());
        one.used_for = Use::Busy;
        one.current = Some(Current {
            delivery,
            message,
            asked: Vec::new(),
            sent: Vec::new(),
            failed: Vec::new(),
            deferred: Vec::new(),
            lost: Vec::new(),
            untried: recipients.iter().collect(),
            accepted_by: String::new(),
            deferred_by: String::new(),
            unsendable: None,
            transactions: 0,
            replies_before: one.client.replies(),
            begun_at: self.now,
            queued,
            connect,
        });
        match (one.is_store, one.no_mail.is_some()) {
            (true, _) => self.store(slot),
            (false, true) => self.refuse_mail(slot),
            (false, false) => self.advance(slot),
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        let Some(one) = &mut self.connections[slot] else { return };
        if one.end.is_some() || one.no_mail.is_some() || one.is_store {
            self.forget(slot);
            self.schedule.closed(id);
            return;
        }
        one.used_for = Use::Quitting;
        one.client.quit(&mut one.out);
        if one.client.phase() != Phase::Quit {
            one.client.handle_lost(Loss::GivenUp);
        }
        self.advance(slot);
    }

    /// Other mail waits after it: it makes room.
    fn move_to_later(&mut self, delivery: Delivery) {
        let schedule::Place::Log(key) = delivery.place else { return };
        let Some(mail) = self.mail.get(&key) else { return };
        let part = mail.parts.iter().find(|(destination, _)| *destination == delivery.destination);
        let Some((_, recipients)) = part else { return };
        let now = seconds(timestamp::seconds(self.wall_clock));
        let reply = match self.schedule.why_down(delivery.destination) {
            Some("") => "its destination is down, and other mail waits behind it".to_owned(),
            Some(why) => format!("its destination is down: {why}"),
            None => "its destination is slow, and other mail waits behind it".to_owned(),
        };
        let wait = Wait {
            destination: self.routes.name(delivery.destination).to_owned(),
            attempts: 0,
            next_at: now,
            received_at: seconds(timestamp::seconds(mail.message.envelope.received_at)),
            reply,
            held: false,
        };
        let change = Change::Later { place: mail.message.place, recipients: recipients.clone(), wait };
        self.tell(Pending { kind: Kind::Move(delivery), change });
    }

    fn expire(&mut self, delivery: Delivery) {
        let (place, known) = match delivery.place {
            schedule::Place::Log(key) => {
                let message = self.mail.get(&key).map(|mail| Rc::clone(&mail.message));
                (Place::Log(cursor_of(key)), message.zip(self.drop_part(key, delivery.destination)))
            }
            // The office knows who waits there for this destination; of a message with several it is read.
            schedule::Place::Later(key) => (Place::Later(cursor_of(key)), None),
        };
        let Some((message, recipients)) = known else {
            self.fetch(Kind::Expire(delivery), place);
            return;
        };
        let (stored, content) = (&message.envelope, &*message.content);
        self.tell_expired(stored, delivery.destination, recipients.count());
        let change = Change::Dead {
            place,
            recipients,
            died_at: seconds(timestamp::seconds(self.wall_clock)),
            why: Why::Expired,
            reply: "it waited too long".to_owned(),
        };
        self.tell_ended(&Ended { stored, content, tried: None, accepted_by: "" }, vec![change]);
    }

    /// Removes a destination of a message in the window; those who are there.
    pub(super) fn drop_part(&mut self, key: u64, destination: DestinationId) -> Option<Recipients> {
        let mail = self.mail.get_mut(&key)?;
        let at = mail.parts.iter().position(|(one, _)| *one == destination)?;
        let (_, recipients) = mail.parts.swap_remove(at);
        if mail.parts.is_empty() && self.refused.as_ref().is_none_or(|refused| refused.key != key) {
            self.mail.remove(&key);
        }
        Some(recipients)
    }
}

fn socket(family: AddressFamily) -> Result<Socket, Errno> {
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The last part of large mail data must not wait for the acknowledgement of the part before it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(Socket::adopt(socket))
}

fn socket_unix(path: &Path) -> Result<Socket, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    // The ring waits, not the socket.
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(Socket::adopt(socket))
}
