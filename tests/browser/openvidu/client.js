// An application on top of the unmodified openvidu-browser library, as its documentation shows one: join, publish,
// subscribe to whatever is created, note every event.
"use strict";

const app = {
  events: [],
  subscribers: new Map(),
  session: null,
  publisher: null,
  ov: null,
};

const SESSION_EVENTS = [
  "connectionCreated",
  "connectionDestroyed",
  "connectionPropertyChanged",
  "exception",
  "networkQualityLevelChanged",
  "reconnected",
  "reconnecting",
  "recordingStarted",
  "recordingStopped",
  "sessionDisconnected",
  "signal",
  "streamCreated",
  "streamDestroyed",
  "streamPropertyChanged",
];

// Some events come without an object.
function note(name, event = {}) {
  const shown = { name };
  if (event.connection) shown.connection = event.connection.connectionId;
  if (event.stream) {
    shown.stream = event.stream.streamId;
    shown.from = event.stream.connection?.connectionId;
  }
  if (event.reason) shown.reason = event.reason;
  if (event.changedProperty) Object.assign(shown, { property: event.changedProperty, value: event.newValue });
  if (name === "signal") Object.assign(shown, { type: event.type, data: event.data, from: event.from?.connectionId ?? null });
  if (name === "exception") Object.assign(shown, { name: "exception", exception: event.name, message: event.message });
  if (event.id) shown.id = event.id;
  app.events.push(shown);
}

// Joins; `options.subscribe: false` leaves streams alone, `options.data` is the client's metadata.
app.join = async (token, options = {}) => {
  app.ov = new OpenVidu();
  app.ov.enableProdMode();
  if (options.advanced) app.ov.setAdvancedConfiguration(options.advanced);
  app.session = app.ov.initSession();
  for (const name of SESSION_EVENTS) app.session.on(name, (event) => note(name, event));
  for (const name of options.signals ?? []) app.session.on(`signal:${name}`, () => app.events.push({ name: `signal:${name}` }));
  app.session.on("streamCreated", (event) => {
    if (options.subscribe !== false) app.subscribe(event.stream.streamId);
  });
  await app.session.connect(token, options.data);
  return app.session.connection.connectionId;
};

app.stream = (id) => {
  for (const connection of app.session.remoteConnections.values())
    if (connection.stream?.streamId === id) return connection.stream;
  return null;
};

app.subscribe = async (id) => {
  const subscriber = await app.session.subscribeAsync(app.stream(id), "others");
  app.subscribers.set(id, subscriber);
  return id;
};

// Publishes a fake camera; `options` as the library takes them.
app.publish = async (options = {}) => {
  const publisher = await app.ov.initPublisherAsync("own", {
    resolution: "320x240",
    frameRate: 15,
    mirror: false,
    ...options,
  });
  for (const name of ["streamCreated", "streamDestroyed", "accessDenied"]) publisher.on(name, (event) => note(`publisher.${name}`, event));
  await app.session.publish(publisher);
  app.publisher = publisher;
  return publisher.stream.streamId;
};

// What a call rejects with.
app.refused = async (promise) => {
  try {
    await promise;
    return null;
  } catch (error) {
    return { name: error?.name ?? null, code: error?.code ?? null, message: String(error?.message ?? error) };
  }
};

async function inbound(stream) {
  const connection = stream.getRTCPeerConnection();
  const report = await connection.getStats();
  const flows = {};
  for (const entry of report.values()) {
    if (entry.type !== "inbound-rtp") continue;
    flows[entry.kind] = {
      packets: entry.packetsReceived ?? 0,
      frames: entry.framesDecoded ?? 0,
      width: entry.frameWidth ?? 0,
      codec: report.get(entry.codecId)?.mimeType ?? null,
    };
  }
  return { state: connection.iceConnectionState, ...flows };
}

// How each subscription plays, by stream.
app.playing = async () => {
  const all = {};
  for (const [id, subscriber] of app.subscribers) {
    const video = subscriber.videos[0]?.video;
    all[id] = { ...(await inbound(subscriber.stream)), shown: video ? video.videoWidth : 0 };
  }
  return all;
};

// What is sent, by simulcast layer.
app.layers = async () => {
  const report = await app.publisher.stream.getRTCPeerConnection().getStats();
  const sent = [...report.values()].filter((entry) => entry.type === "outbound-rtp" && entry.kind === "video");
  return sent.filter((entry) => entry.framesSent > 5).map((entry) => [entry.rid, entry.frameWidth]);
};

// A track of moving colours.
app.picture = (width, height) => {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  setInterval(() => {
    context.fillStyle = `hsl(${(Date.now() / 20) % 360}, 80%, 50%)`;
    context.fillRect(0, 0, width, height);
  }, 50);
  return canvas.captureStream(15).getVideoTracks()[0];
};

// Makes the peer connection of a subscription anew, as the library does after a network loss.
app.renew = (id) => app.subscribers.get(id).stream.reconnectStream("TEST");
