// What the test page can do: publish by WHIP, play by WHEP, peer to peer for comparison, and read statistics.
// Bare calls, as an application without any SDK would make them.
"use strict";

window.calls = (() => {
  const connections = {};
  const problems = [];

  // A moving picture from a canvas, so that every browser encodes the same and never repeats a frame.
  function picture(width, height, fps) {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    let count = 0;
    const draw = () => {
      count += 1;
      context.fillStyle = `hsl(${count % 360} 60% 40%)`;
      context.fillRect(0, 0, width, height);
      context.fillStyle = "#fff";
      context.font = `${Math.floor(height / 4)}px sans-serif`;
      context.fillText(String(count), (count * 5) % width, height / 2);
    };
    draw();
    const timer = setInterval(draw, 1000 / fps);
    const stream = canvas.captureStream(fps);
    stream.getVideoTracks()[0].addEventListener("ended", () => clearInterval(timer));
    return stream;
  }

  // A steady tone: the beeps of fake microphones are too short to count as speech.
  function tone() {
    const context = new AudioContext();
    void context.resume();
    const oscillator = context.createOscillator();
    const volume = context.createGain();
    volume.gain.value = 0.3;
    const destination = context.createMediaStreamDestination();
    oscillator.connect(volume).connect(destination);
    oscillator.start();
    return destination.stream.getAudioTracks()[0];
  }

  async function media({ source = "camera", width = 320, height = 180, fps = 15, audio = true, video = true }) {
    if (source === "camera") {
      return navigator.mediaDevices.getUserMedia({
        audio,
        video: video && { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: fps } },
      });
    }
    const stream = video ? picture(width, height, fps) : new MediaStream();
    if (audio === "tone") {
      stream.addTrack(tone());
    } else if (audio) {
      const sound = await navigator.mediaDevices.getUserMedia({ audio: true });
      sound.getAudioTracks().forEach((track) => stream.addTrack(track));
    }
    return stream;
  }

  function prefer(transceiver, codec) {
    if (!codec || !transceiver.setCodecPreferences) return;
    const receiverSide = RTCRtpReceiver.getCapabilities("video").codecs;
    const senderSide = RTCRtpSender.getCapabilities("video").codecs;
    const all = transceiver.direction === "recvonly" ? receiverSide : senderSide;
    const chosen = all.filter((entry) => entry.mimeType.toLowerCase() === `video/${codec.toLowerCase()}`);
    if (chosen.length === 0) throw new Error(`this browser has no ${codec}`);
    const repair = all.filter((entry) => /\/(rtx|red|ulpfec)$/i.test(entry.mimeType));
    transceiver.setCodecPreferences([...chosen, ...repair]);
  }

  function watch(name, pc) {
    const states = [];
    const entry = { pc, states, started: performance.now() };
    pc.addEventListener("connectionstatechange", () => states.push([Math.round(performance.now() - entry.started), pc.connectionState]));
    connections[name] = entry;
    return entry;
  }

  async function gathered(pc, limitMs = 3000) {
    if (pc.iceGatheringState === "complete") return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      pc.addEventListener("icegatheringstatechange", () => {
        if (pc.iceGatheringState === "complete") {
          clearTimeout(timer);
          resolve();
        }
      });
    });
  }

  async function signal(entry, url, token, { trickle = false } = {}) {
    const { pc } = entry;
    await pc.setLocalDescription();
    if (!trickle) await gathered(pc);
    const response = await fetch(url, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/sdp" },
      body: pc.localDescription.sdp,
    });
    const text = await response.text();
    if (response.status !== 201) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 300)}`);
    entry.token = token;
    entry.location = new URL(response.headers.get("location"), url).href;
    entry.etag = response.headers.get("etag");
    entry.link = response.headers.get("link");
    entry.answer = text;
    if (trickle) trickleTo(entry);
    await pc.setRemoteDescription({ type: "answer", sdp: text });
  }

  // Candidates by PATCH as they come (RFC 8840, RFC 9725 section 4.3).
  function trickleTo(entry) {
    const { pc } = entry;
    const send = async (line) => {
      const sdp = pc.localDescription.sdp;
      const ufrag = /a=ice-ufrag:(.*)/.exec(sdp)[1].trim();
      const pwd = /a=ice-pwd:(.*)/.exec(sdp)[1].trim();
      const mid = /a=mid:(.*)/.exec(sdp)[1].trim();
      const kind = /m=(\w+)/.exec(sdp)[1];
      const body = `a=ice-ufrag:${ufrag}\r\na=ice-pwd:${pwd}\r\nm=${kind} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:${mid}\r\n${line}\r\n`;
      const response = await fetch(entry.location, {
        method: "PATCH",
        headers: { authorization: `Bearer ${entry.token}`, "content-type": "application/trickle-ice-sdpfrag", "if-match": entry.etag ?? "*" },
        body,
      });
      entry.patches = [...(entry.patches ?? []), response.status];
    };
    pc.addEventListener("icecandidate", ({ candidate }) => void send(candidate?.candidate ? `a=${candidate.candidate}` : "a=end-of-candidates"));
    for (const line of pc.localDescription.sdp.split("\r\n").filter((line) => line.startsWith("a=candidate:"))) void send(line);
  }

  // Options: as media(), and codec, rids (simulcast), trickle.
  async function publish(name, url, token, options = {}) {
    const stream = await media(options);
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const entry = watch(name, pc);
    entry.stream = stream;
    for (const track of stream.getTracks()) {
      const init = { direction: "sendonly", streams: [stream] };
      if (track.kind === "video" && options.rids) {
        init.sendEncodings = options.rids.map((rid, at) => ({ rid, scaleResolutionDownBy: 2 ** (options.rids.length - 1 - at) }));
      }
      const transceiver = pc.addTransceiver(track, init);
      if (track.kind === "video") prefer(transceiver, options.codec);
    }
    await signal(entry, url, token, options);
    return { location: entry.location, etag: entry.etag, link: entry.link };
  }

  function show(name, pc) {
    pc.addEventListener("track", ({ track, transceiver }) => {
      const element = document.createElement(track.kind);
      element.autoplay = true;
      element.muted = true;
      element.playsInline = true;
      element.dataset.connection = name;
      element.dataset.mid = transceiver.mid;
      element.srcObject = new MediaStream([track]);
      document.getElementById("videos").append(element);
      element.play().catch((error) => problems.push(`${name}: ${error.name}`));
    });
  }

  // Plays through `slots` pairs of an audio and a video section, or through the kinds that are named.
  async function play(name, url, token, { slots = 1, audio = true, video = true, codec, trickle } = {}) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const entry = watch(name, pc);
    show(name, pc);
    for (let slot = 0; slot < slots; slot += 1) {
      if (audio) pc.addTransceiver("audio", { direction: "recvonly" });
      if (video) prefer(pc.addTransceiver("video", { direction: "recvonly" }), codec);
    }
    await signal(entry, url, token, { trickle });
    return { location: entry.location, etag: entry.etag, link: entry.link };
  }

  // Peer to peer, for comparison: the caller carries the descriptions from page to page.
  async function peerConnection(name, options) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const entry = watch(name, pc);
    show(name, pc);
    entry.stream = options.stream ? connections[options.stream].stream : await media(options);
    for (const track of entry.stream.getTracks()) pc.addTrack(track, entry.stream);
    return pc;
  }

  async function peerOffer(name, options = {}) {
    const pc = await peerConnection(name, options);
    await pc.setLocalDescription();
    await gathered(pc);
    return pc.localDescription.sdp;
  }

  async function peerAnswer(name, sdp, options = {}) {
    const pc = await peerConnection(name, options);
    await pc.setRemoteDescription({ type: "offer", sdp });
    await pc.setLocalDescription();
    await gathered(pc);
    return pc.localDescription.sdp;
  }

  async function peerAccept(name, sdp) {
    await connections[name].pc.setRemoteDescription({ type: "answer", sdp });
  }

  // What the slots of a playing connection show: pins and layers.
  async function arrange(name, body) {
    const entry = connections[name];
    const headers = { authorization: `Bearer ${entry.token}`, "content-type": "application/json" };
    const response = await fetch(`${entry.location}/slots`, { method: "PUT", headers, body: JSON.stringify(body) });
    return response.status;
  }

  // Silences a publishing connection, or lets it be heard.
  function mute(name, muted) {
    connections[name].stream.getAudioTracks().forEach((track) => { track.enabled = !muted; });
  }

  async function leave(name) {
    const entry = connections[name];
    delete connections[name];
    let status = 0;
    if (entry.location) {
      const response = await fetch(entry.location, { method: "DELETE", headers: { authorization: `Bearer ${entry.token}` } });
      status = response.status;
    }
    entry.pc.close();
    entry.stream?.getTracks().forEach((track) => track.stop());
    document.querySelectorAll(`[data-connection="${name}"]`).forEach((element) => element.remove());
    return status;
  }

  // Server-sent events by fetch(), with the token in a header and Last-Event-ID; reconnects until stopped.
  function events(name, url, authorization, after) {
    const entry = { events: [], connects: 0, errors: [], last: after ?? null, stop: false };
    connections[name] = entry;
    const run = async () => {
      while (!entry.stop) {
        try {
          const headers = { authorization };
          if (entry.last !== null) headers["last-event-id"] = String(entry.last);
          const response = await fetch(url, { headers, cache: "no-store" });
          if (!response.ok) throw new Error(`status ${response.status}`);
          entry.connects += 1;
          await readEvents(entry, response.body.getReader());
        } catch (error) {
          entry.errors.push(String(error.message ?? error));
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    void run();
  }

  async function readEvents(entry, reader) {
    const decoder = new TextDecoder();
    let buffer = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += decoder.decode(value, { stream: true });
      for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
        const event = { at: Date.now() };
        for (const line of buffer.slice(0, end).split("\n")) {
          const [, key, text] = /^(\w+): ?(.*)$/.exec(line) ?? [];
          if (key === "data") event.data = JSON.parse(text);
          else if (key) event[key] = text;
        }
        buffer = buffer.slice(end + 2);
        if (event.id !== undefined) entry.last = event.id;
        if (event.event !== undefined || event.data !== undefined) entry.events.push(event);
      }
    }
  }

  // One line for each RTP flow: what the tests look at.
  async function stats(name) {
    const entry = connections[name];
    if (!entry?.pc) return null;
    const report = [...(await entry.pc.getStats()).values()];
    const codecs = Object.fromEntries(report.filter((line) => line.type === "codec").map((line) => [line.id, line.mimeType]));
    const pick = (line) => ({
      kind: line.kind,
      mid: line.mid ?? null,
      rid: line.rid ?? null,
      ssrc: line.ssrc,
      codec: codecs[line.codecId] ?? null,
      packets: line.packetsReceived ?? line.packetsSent ?? 0,
      bytes: line.bytesReceived ?? line.bytesSent ?? 0,
      lost: line.packetsLost ?? 0,
      frames: line.framesDecoded ?? line.framesEncoded ?? 0,
      received: line.framesReceived ?? null,
      dropped: line.framesDropped ?? 0,
      freezes: line.freezeCount ?? null,
      keyframes: line.keyFramesDecoded ?? line.keyFramesEncoded ?? null,
      width: line.frameWidth ?? 0,
      height: line.frameHeight ?? 0,
      nacks: line.nackCount ?? 0,
      plis: line.pliCount ?? 0,
      retransmitted: line.retransmittedPacketsSent ?? line.retransmittedPacketsReceived ?? 0,
    });
    const transport = report.find((line) => line.type === "transport");
    return {
      state: entry.pc.connectionState,
      states: entry.states,
      srtp: transport?.srtpCipher ?? null,
      dtls: transport?.dtlsCipher ?? null,
      inbound: report.filter((line) => line.type === "inbound-rtp").map(pick),
      outbound: report.filter((line) => line.type === "outbound-rtp").map(pick),
      patches: entry.patches ?? [],
    };
  }

  // What the video elements of a connection show: size and a checksum of the pixels, which changes with a live picture.
  function shown(name) {
    return [...document.querySelectorAll(`video[data-connection="${name}"]`)].map((element) => {
      const canvas = document.createElement("canvas");
      canvas.width = 32;
      canvas.height = 18;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      let sum = 0;
      let lit = 0;
      if (element.videoWidth > 0) {
        context.drawImage(element, 0, 0, 32, 18);
        const pixels = context.getImageData(0, 0, 32, 18).data;
        for (let at = 0; at < pixels.length; at += 4) {
          const value = pixels[at] + pixels[at + 1] + pixels[at + 2];
          sum = (sum * 31 + value) >>> 0;
          lit += value > 30 ? 1 : 0;
        }
      }
      return { mid: element.dataset.mid, width: element.videoWidth, height: element.videoHeight, time: element.currentTime, sum, lit };
    });
  }

  return { connections, problems, publish, play, leave, peerOffer, peerAnswer, peerAccept, arrange, mute, events, stats, shown, media, watch, gathered };
})();
