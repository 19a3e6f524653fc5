// One participant in one session, over Plenum's REST signalling: events by server-sent events, media by WHIP and WHEP.
// Knows nothing of the page; says "change" when its state changed and "ended" when the call is over.

const SLOTS = 12;
const RETRY_MS = [300, 600, 1000, 2000, 3000];
const RESTART_AFTER_MS = 2000; // without a way to the server, as after a change of the network
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** An answer of the server that is no success, with the cause that it gave. */
export class RequestError extends Error {
  constructor(status, code, detail) {
    super(detail || code || `the server answered ${status}`);
    this.status = status;
    this.code = code;
  }
}

/** fetch() that throws a RequestError for anything but a success. */
export async function request(path, options = {}) {
  // Without `omit` a wrong secret makes the browser ask for a password of its own.
  const response = await fetch(path, { cache: 'no-store', credentials: 'omit', ...options });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new RequestError(response.status, problem.code, problem.detail || problem.message);
}

export class Call extends EventTarget {
  /** `token`: of the connection. `name`: shown to the others. */
  constructor({ token, name }) {
    super();
    this.token = token;
    this.clientData = JSON.stringify({ clientData: name });
    this.name = name;
    this.participants = new Map(); // connection id -> { id, name, streamId, audio, video, typeOfVideo }
    this.slots = new Map(); // resource -> Map("video:0" -> { streamId, publisherId })
    this.speakers = [];
    this.events = { open: false, lastId: '', reconnects: 0 };
    this.muted = { audio: false, video: false };
    this.screen = false; // the picture is that of a screen
    this.stopped = new AbortController();
    this.publishing = null;
    this.playing = null;
    this.iceServers = [];
  }

  headers(more = {}) {
    return { Authorization: `Bearer ${this.token}`, 'X-Client-Data': encodeURIComponent(this.clientData), ...more };
  }

  get ended() {
    return this.stopped.signal.aborted;
  }

  changed() {
    this.dispatchEvent(new Event('change'));
  }

  /** Joins: events first, so that nothing is missed, then media both ways. */
  async start(stream) {
    this.stream = stream;
    await this.openEvents();
    this.readEvents();
    await Promise.all([this.publish(), this.play()]);
    this.changed();
  }

  // --- events -----------------------------------------------------------------------------------------------------

  async openEvents() {
    const resume = this.events.lastId ? { 'Last-Event-ID': this.events.lastId } : {};
    this.response = await request('/events', { headers: this.headers(resume), signal: this.stopped.signal });
    this.events.open = true;
    if (!resume['Last-Event-ID']) await this.refresh();
  }

  /** Reads until the call is over; a broken stream is opened again where it was. */
  async readEvents() {
    let attempt = 0;
    while (!this.ended) {
      try {
        if (!this.response) await this.openEvents();
        attempt = 0;
        await this.readStream(this.response.body);
      } catch (error) {
        if (this.ended) return;
        // The token is no longer a connection's: it has left or was closed while we were away.
        if (error instanceof RequestError && error.status === 401) return this.over('The session was closed.', error.code);
      }
      this.response = null;
      this.events.open = false;
      if (this.ended) return;
      this.changed();
      await sleep(RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)]);
      this.events.reconnects++;
    }
  }

  async readStream(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split('\n\n');
      text = blocks.pop();
      for (const block of blocks) this.takeBlock(block);
    }
  }

  takeBlock(block) {
    const fields = {};
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':');
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
    }
    if (fields.id) this.events.lastId = fields.id;
    if (fields.event) this.take(fields.event, JSON.parse(fields.data));
  }

  take(name, event) {
    const handler = this[`on_${name}`];
    if (handler) handler.call(this, event);
    this.dispatchEvent(new CustomEvent('event', { detail: { name, event } }));
    this.changed();
  }

  on_open(event) {
    this.connectionId = event.connectionId;
    this.sessionId = event.sessionId;
  }

  on_gap() {
    this.refresh().catch(() => {});
  }

  on_joined(event) {
    if (event.connectionId === this.connectionId) return;
    this.participants.set(event.connectionId, { ...this.participants.get(event.connectionId), ...participant(event) });
    if (this.muted.audio || this.muted.video || this.screen) this.tellMuted([event.connectionId]);
  }

  on_left(event) {
    if (event.connectionId === this.connectionId) this.leftBecause = event.reason;
    this.participants.delete(event.connectionId);
  }

  on_published(event) {
    if (event.connectionId === this.connectionId) return;
    const known = this.participants.get(event.connectionId) || participant(event);
    this.participants.set(event.connectionId, { ...known, ...streamOf(event) });
  }

  on_unpublished(event) {
    const known = this.participants.get(event.connectionId);
    if (known && known.streamId === event.streamId) known.streamId = null;
  }

  on_slot(event) {
    if (!this.slots.has(event.resource)) this.slots.set(event.resource, new Map());
    const key = `${event.kind}:${event.slot}`;
    if (event.streamId) {
      this.slots.get(event.resource).set(key, { streamId: event.streamId, publisherId: event.publisherId });
    } else {
      this.slots.get(event.resource).delete(key);
    }
  }

  on_speakers(event) {
    this.speakers = event.streams;
  }

  on_signal(event) {
    if (event.type !== 'plenum.muted') return;
    const from = this.participants.get(event.from);
    if (!from) return;
    try {
      from.muted = JSON.parse(event.data);
    } catch {
      // Not of this page.
    }
  }

  on_sessionDestroyed(event) {
    this.leftBecause = this.leftBecause || event.reason;
  }

  on_end() {
    this.over(REASONS[this.leftBecause] || 'You have left the session.', this.leftBecause);
  }

  /** Reads the present state: at the start, and when events were missed. */
  async refresh() {
    const own = await (await request('/connection', { headers: this.headers(), signal: this.stopped.signal })).json();
    this.connectionId = own.connectionId;
    this.sessionId = own.sessionId;
    this.role = own.role;
    this.iceServers = own.iceServers.map((server) => ({ ...server, urls: server.url, url: undefined }));
    const before = this.participants;
    this.participants = new Map();
    for (const other of own.participants) {
      this.participants.set(other.connectionId, { muted: before.get(other.connectionId)?.muted, ...participant(other) });
    }
    for (const stream of own.streams) this.on_published(stream);
    this.slots.clear();
    for (const slot of own.slots) this.on_slot(slot);
    this.changed();
  }

  over(message, reason) {
    if (this.ended) return;
    this.close();
    this.dispatchEvent(new CustomEvent('ended', { detail: { message, reason } }));
  }

  // --- media ------------------------------------------------------------------------------------------------------

  async publish() {
    if (this.role === 'SUBSCRIBER' || !this.stream) return;
    await this.exchange('publishing', '/whip', (pc) => {
      for (const track of this.stream.getTracks()) {
        const encodings = track.kind === 'video' ? [{ maxBitrate: 1_500_000 }] : undefined;
        pc.addTransceiver(track, { direction: 'sendonly', streams: [this.stream], sendEncodings: encodings });
      }
    });
  }

  async play() {
    await this.exchange('playing', '/whep', (pc) => {
      for (let slot = 0; slot < SLOTS; slot++) {
        pc.addTransceiver('audio', { direction: 'recvonly' });
        pc.addTransceiver('video', { direction: 'recvonly' });
      }
    });
  }

  /** One peer connection over one WHIP or WHEP resource; ICE is restarted when it stalls, all is made anew when that fails. */
  async exchange(which, path, prepare) {
    const pc = new RTCPeerConnection({ iceServers: this.iceServers, bundlePolicy: 'max-bundle' });
    const media = { pc, path, resource: null, etag: null, candidates: [] };
    this[which] = media;
    prepare(pc);
    pc.onicecandidate = ({ candidate }) => {
      media.candidates.push(candidate ? candidate.candidate : '');
      if (media.resource) this.trickle(media);
    };
    pc.onconnectionstatechange = () => {
      this.changed();
      clearTimeout(media.restartTimer);
      if (pc.connectionState === 'failed') this.again(media, which, path, prepare);
      if (pc.connectionState === 'disconnected') {
        media.restartTimer = setTimeout(() => this.restart(media, which, path, prepare), RESTART_AFTER_MS);
      }
    };
    await pc.setLocalDescription();
    const response = await request(path, {
      method: 'POST',
      body: pc.localDescription.sdp,
      headers: this.headers({ 'Content-Type': 'application/sdp' }),
      signal: this.stopped.signal,
    });
    media.resource = response.headers.get('Location');
    media.etag = response.headers.get('ETag');
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
    this.trickle(media);
  }

  /** Finds a new way to the server: new ICE credentials of both sides, everything else stays (RFC 8840, RFC 9725 section 4.3.3). */
  async restart(media, which, path, prepare) {
    const { pc } = media;
    if (this.ended || this[which] !== media || media.restarting) return;
    media.restarting = true;
    media.candidates = [];
    try {
      pc.restartIce();
      await pc.setLocalDescription();
      const response = await request(media.resource, {
        method: 'PATCH',
        body: fragment(pc.localDescription.sdp, []),
        headers: this.headers({ 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' }),
        signal: this.stopped.signal,
      });
      media.etag = response.headers.get('ETag');
      await pc.setRemoteDescription({ type: 'answer', sdp: withIceOf(pc.remoteDescription.sdp, await response.text()) });
      media.restarting = false;
      this.trickle(media);
    } catch (error) {
      media.restarting = false;
      if (error instanceof RequestError) return this.again(media, which, path, prepare);
      // Offline: once more when the network may be back.
      media.restartTimer = setTimeout(() => this.restart(media, which, path, prepare), RESTART_AFTER_MS);
    }
  }

  async again(media, which, path, prepare) {
    if (this.ended || this[which] !== media) return;
    this[which] = null;
    this.release(media);
    for (let attempt = 0; !this.ended; attempt++) {
      await sleep(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
      if (this.ended) return;
      try {
        return await this.exchange(which, path, prepare);
      } catch (error) {
        if (error instanceof RequestError && error.status === 401) return;
        this[which]?.pc.close();
        this[which] = null;
      }
    }
  }

  /** Sends the candidates that were found by now (RFC 8840). */
  trickle(media) {
    clearTimeout(media.timer);
    media.timer = setTimeout(() => {
      const { sdp } = media.pc.localDescription || {};
      if (!sdp || media.restarting || media.pc.connectionState === 'closed' || media.candidates.length === 0) return;
      request(media.resource, {
        method: 'PATCH',
        body: fragment(sdp, media.candidates.splice(0)),
        headers: this.headers({ 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': media.etag }),
      }).catch(() => {});
    }, 50);
  }

  release(media) {
    clearTimeout(media.timer);
    clearTimeout(media.restartTimer);
    media.pc.onconnectionstatechange = null;
    media.pc.onicecandidate = null;
    media.pc.close();
    if (media.resource) fetch(media.resource, { method: 'DELETE', headers: this.headers(), keepalive: true }).catch(() => {});
  }

  // --- what the page asks for --------------------------------------------------------------------------------------

  /** Mutes or unmutes `audio` or `video`, and tells the others. */
  setMuted(kind, muted) {
    this.muted[kind] = muted;
    for (const track of this.stream.getTracks()) if (track.kind === kind) track.enabled = !muted;
    this.tellMuted([]);
    this.changed();
  }

  tellMuted(to) {
    return this.signal('plenum.muted', JSON.stringify({ ...this.muted, screen: this.screen }), to).catch(() => {});
  }

  signal(type, data, to = []) {
    return request('/signal', {
      method: 'POST',
      body: JSON.stringify({ type, data, to }),
      headers: this.headers({ 'Content-Type': 'application/json' }),
    });
  }

  /** Puts a screen's track in place of the picture, or the camera's back; a hidden picture is shown for that time. */
  async setScreen(track, on) {
    this.screen = on;
    if (on) this.hidden = this.muted.video;
    this.muted.video = on ? false : this.hidden;
    await this.replaceTrack(track);
    this.tellMuted([]);
  }

  /** Puts another track in place of the published one of its kind. */
  async replaceTrack(track) {
    const sender = this.publishing?.pc.getSenders().find((sender) => sender.track?.kind === track.kind);
    if (sender) await sender.replaceTrack(track);
    for (const old of this.stream.getTracks()) if (old.kind === track.kind) this.stream.removeTrack(old);
    this.stream.addTrack(track);
    track.enabled = !this.muted[track.kind];
    this.changed();
  }

  leave() {
    if (this.ended) return;
    fetch('/connection', { method: 'DELETE', headers: this.headers(), keepalive: true }).catch(() => {});
    this.close();
  }

  /** Ends the media, but stays in the session for some seconds: the page may only be reloaded. */
  suspend() {
    for (const media of [this.publishing, this.playing]) if (media) this.release(media);
    this.close();
  }

  close() {
    this.stopped.abort();
    for (const media of [this.publishing, this.playing]) {
      if (!media) continue;
      clearTimeout(media.timer);
      clearTimeout(media.restartTimer);
      media.pc.onconnectionstatechange = null;
      media.pc.close();
    }
  }

  // --- views ------------------------------------------------------------------------------------------------------

  /** The receiving transceivers of a slot, by kind. */
  receiver(kind, slot) {
    const all = this.playing?.pc.getTransceivers() ?? [];
    return all.filter((transceiver) => transceiver.receiver.track.kind === kind)[slot]?.receiver;
  }

  /** What the slots of the present WHEP resource hold: [{ kind, slot, streamId, publisherId }]. */
  filledSlots() {
    const resource = this.playing?.resource?.split('/').pop();
    const filled = [...(this.slots.get(resource) ?? [])];
    return filled.map(([key, held]) => {
      const [kind, slot] = key.split(':');
      return { kind, slot: Number(slot), ...held };
    });
  }

  /** Numbers for tests and for the curious. */
  async stats() {
    const received = [];
    for (const { kind, slot, streamId, publisherId } of this.filledSlots()) {
      const report = await this.receiver(kind, slot)?.getStats();
      const inbound = [...(report?.values() ?? [])].find((entry) => entry.type === 'inbound-rtp');
      received.push({ kind, slot, streamId, publisherId, name: this.participants.get(publisherId)?.name, ...pick(inbound, INBOUND) });
    }
    const sent = [];
    for (const sender of this.publishing?.pc.getSenders() ?? []) {
      const report = await sender.getStats();
      const outbound = [...report.values()].filter((entry) => entry.type === 'outbound-rtp');
      for (const entry of outbound) sent.push({ kind: entry.kind, rid: entry.rid, ...pick(entry, OUTBOUND) });
    }
    return { received, sent, at: performance.now() };
  }
}

const INBOUND = [
  'packetsReceived', 'packetsLost', 'bytesReceived', 'framesReceived', 'framesDecoded', 'framesDropped', 'frameWidth',
  'frameHeight', 'framesPerSecond', 'keyFramesDecoded', 'freezeCount', 'totalFreezesDuration', 'nackCount', 'pliCount',
  'jitter', 'totalSamplesReceived', 'concealedSamples', 'audioLevel',
];
const OUTBOUND = [
  'packetsSent', 'bytesSent', 'framesEncoded', 'framesSent', 'frameWidth', 'frameHeight', 'keyFramesEncoded',
  'nackCount', 'pliCount', 'retransmittedPacketsSent', 'qualityLimitationReason',
];

const REASONS = {
  disconnect: 'You have left the session.',
  forceDisconnectByServer: 'You were removed from the session.',
  forceDisconnectByUser: 'A moderator removed you from the session.',
  networkDisconnect: 'The connection to the session was lost.',
  nodeCrashed: 'The media node that carried the session has failed.',
  sessionClosedByServer: 'The session was closed.',
};

/** Credentials of a description, and candidates, as the fragment that a PATCH carries. */
function fragment(sdp, candidates) {
  const of = (name) => sdp.match(new RegExp(`^a=${name}:(.*)$`, 'm'))[1].trim();
  const kind = sdp.match(/^m=(\w+)/m)[1];
  const lines = [`a=ice-ufrag:${of('ice-ufrag')}`, `a=ice-pwd:${of('ice-pwd')}`, `m=${kind} 9 UDP/TLS/RTP/SAVPF 0`, `a=mid:${of('mid')}`];
  for (const candidate of candidates) lines.push(candidate ? `a=${candidate}` : 'a=end-of-candidates');
  return `${lines.join('\r\n')}\r\n`;
}

/** A description with the credentials and candidates of a fragment. */
function withIceOf(sdp, part) {
  const of = (name) => part.match(new RegExp(`^a=${name}:.*$`, 'm'))[0];
  const candidates = part.match(/^a=candidate:.*$/gm) ?? [];
  return sdp
    .replace(/^a=(?:candidate:.*|end-of-candidates)\r?\n/gm, '')
    .replace(/^a=ice-ufrag:.*$/gm, of('ice-ufrag'))
    .replace(/^a=ice-pwd:.*$/gm, of('ice-pwd'))
    .replace(/^a=mid:.*$/m, (mid) => [mid, ...candidates].join('\r\n'));
}

function pick(entry, names) {
  return Object.fromEntries(names.filter((name) => entry?.[name] !== undefined).map((name) => [name, entry[name]]));
}

function participant({ connectionId, clientData, serverData }) {
  return { id: connectionId, name: nameOf(clientData) || nameOf(serverData) || 'Guest' };
}

function streamOf({ streamId, hasAudio, hasVideo, typeOfVideo }) {
  return { streamId, audio: hasAudio, video: hasVideo, typeOfVideo };
}

/** OpenVidu's applications write the name as {"clientData":"..."}; others as plain text. */
function nameOf(data) {
  try {
    const parsed = JSON.parse(data);
    return typeof parsed.clientData === 'string' ? parsed.clientData.slice(0, 80) : '';
  } catch {
    return (data || '').slice(0, 80);
  }
}
