//! Pure: no clock, no I/O, no async.
//!
//! Shows key frame requests to the application. Without a mark the crate's interceptors keep RTCP to themselves, and
//! it drops a marked compound whose first packet names no stream (a receiver report without blocks, as servers put
//! there): so the requests are taken out and passed on alone.

use std::collections::VecDeque;
use std::time::Instant;

use rtc::interceptor::{Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Position nearest to the wire: the mark stays while the others look at the packet.
pub(super) const POSITION: usize = 500;

/// Passes everything on, and key frame requests once more.
#[derive(Default)]
pub(super) struct ShowFeedback {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for ShowFeedback {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(all) = &packet.message.packet {
            let is_request = |part: &dyn rtc::rtcp::Packet| {
                part.as_any().is::<PictureLossIndication>() || part.as_any().is::<FullIntraRequest>()
            };
            let requests: Vec<_> = all.iter().filter(|part| is_request(part.as_ref())).cloned().collect();
            if !requests.is_empty() {
                let mut message = AttributedPacket::new(Packet::Rtcp(requests));
                message.attributes.push(Attribute::DeliverToApplication);
                self.read.push_back(TaggedPacket { now: packet.now, transport: packet.transport, message });
            }
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for ShowFeedback {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
