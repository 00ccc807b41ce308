//! Messages of a channel, over a connection of their own.

use std::time::Duration;

use ::redis::aio::{PubSubSink, PubSubStream};
use ::redis::{Client, RedisResult, Value};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

/// Silence after which the connection is checked. Without it, a connection that broke unnoticed would stay silent.
const PING_EVERY: Duration = Duration::from_secs(5);

/// The messages of a channel, until the connection breaks. Messages from before it, and from between two subscriptions,
/// are lost.
pub struct Subscription {
    messages: PubSubStream,
    control: PubSubSink,
    answer_within: Duration,
}

impl Subscription {
    /// Subscribes over a new connection. `answer_within`: the time limit of the answers that show whether it is alive.
    pub(super) async fn open(client: &Client, channel: &str, answer_within: Duration) -> RedisResult<Self> {
        let (mut control, messages) = client.get_async_pubsub().await?.split();
        control.subscribe(channel).await?;
        Ok(Self { messages, control, answer_within })
    }

    /// Waits for the next message; `None` when the connection is lost.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            tokio::select! {
                message = self.messages.next() => {
                    return message.map(|message| message.get_payload_bytes().to_vec());
                }
                () = sleep(PING_EVERY) => {}
            }
            let pong = timeout(self.answer_within, self.control.ping::<Value>()).await;
            if !matches!(pong, Ok(Ok(_))) {
                return None;
            }
        }
    }
}
