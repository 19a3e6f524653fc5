// The page: lobby, grid, tools. Everything of the call itself is in call.js.

import { Call, RequestError, request } from './call.js';

const $ = (id) => document.getElementById(id);
const link = new URLSearchParams(location.hash.slice(1));
const tiles = new Map(); // connection id -> element
let call = null;
let own = null; // { stream, kind, stop }
let access = null; // { secret, session } where the API secret is known

// --- lobby ----------------------------------------------------------------------------------------------------------

function phase(name) {
  document.body.dataset.phase = name;
  $('join').disabled = name === 'joining';
  $('join').textContent = name === 'joining' ? 'Joining…' : 'Join';
}

function fail(error) {
  $('error').textContent = explain(error);
}

function explain(error) {
  if (!(error instanceof RequestError)) {
    const network = error instanceof TypeError && /fetch|network/i.test(error.message);
    return network ? 'The server cannot be reached.' : error.message;
  }
  if (error.status === 401 && !error.code) return 'The API secret is wrong.';
  if (error.status === 401) return 'This join link was used already, or its session is over. Ask for a new one.';
  if (error.status === 429) return 'Too many attempts. Wait a moment and try again.';
  if (error.code === 'no-media-node') return 'No media node is available at present. Try again in a moment.';
  return error.message;
}

function store(name, value) {
  try {
    if (value === undefined) return sessionStorage.getItem(name) || '';
    sessionStorage.setItem(name, value);
  } catch {
    // Storage is switched off: nothing is remembered.
  }
  return '';
}

let previewing = null;
function preview() {
  previewing = showPreview();
  return previewing;
}

async function showPreview() {
  const kind = document.querySelector('input[name=media]:checked').value;
  own?.stop();
  own = null;
  $('preview-note').textContent = kind === 'none' ? 'You will see and hear the others.' : '';
  $('preview').srcObject = null;
  if (kind === 'none') return;
  try {
    const made = kind === 'camera' ? await camera() : testPicture($('name').value || 'Test');
    if (document.querySelector('input[name=media]:checked').value !== kind) return made.stop();
    own = made;
    $('preview').srcObject = own.stream;
  } catch (error) {
    $('preview-note').textContent = `No camera: ${error.message}. You can join with the test picture.`;
  }
}

async function camera() {
  if (!navigator.mediaDevices) throw new Error('the browser allows it only over HTTPS');
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio, video });
  } catch (error) {
    if (error.name !== 'NotFoundError' && error.name !== 'NotReadableError') throw error;
    // One of the two is missing.
    stream = await navigator.mediaDevices.getUserMedia({ audio }).catch(() => navigator.mediaDevices.getUserMedia({ video }));
  }
  return { kind: 'camera', stream, stop: () => stream.getTracks().forEach((track) => track.stop()) };
}

/** A moving picture with a clock and a soft tone twice a second: works without any device. */
function testPicture(name) {
  const width = Number(link.get('width')) || 640;
  const height = Number(link.get('height')) || 360;
  const rate = Number(link.get('rate')) || 15;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const paint = canvas.getContext('2d');
  const hue = hueOf(name);
  const draw = () => {
    const t = performance.now() / 1000;
    paint.fillStyle = `hsl(${hue} 45% 22%)`;
    paint.fillRect(0, 0, width, height);
    for (let bar = 0; bar < 7; bar++) {
      paint.fillStyle = `hsl(${hue + bar * 24} 65% ${45 + 8 * Math.sin(t * 2 + bar)}%)`;
      const tall = height * (0.25 + 0.18 * Math.sin(t * 1.7 + bar * 0.9));
      paint.fillRect((width / 7) * bar + 6, height - tall, width / 7 - 12, tall);
    }
    paint.fillStyle = '#fff';
    paint.beginPath();
    paint.arc(width * (0.5 + 0.4 * Math.cos(t)), height * (0.38 + 0.25 * Math.sin(t * 1.3)), height / 14, 0, 7);
    paint.fill();
    paint.font = `600 ${height / 9}px system-ui, sans-serif`;
    paint.fillText(name.slice(0, 16), 18, height / 6);
    paint.font = `${height / 14}px ui-monospace, monospace`;
    paint.fillText(new Date().toISOString().slice(11, 22), 18, height / 3.6);
  };
  draw();
  const timer = setInterval(draw, 1000 / rate);
  const stream = canvas.captureStream(rate);
  const sound = new AudioContext();
  const tone = sound.createOscillator();
  const volume = sound.createGain();
  const target = sound.createMediaStreamDestination();
  tone.frequency.value = 220 + (hue % 220);
  volume.gain.value = 0;
  const beep = setInterval(() => {
    const now = sound.currentTime;
    volume.gain.setTargetAtTime(0.05, now, 0.02);
    volume.gain.setTargetAtTime(0, now + 0.12, 0.05);
  }, 500);
  tone.connect(volume).connect(target);
  tone.start();
  sound.resume().catch(() => {});
  stream.addTrack(target.stream.getAudioTracks()[0]);
  const stop = () => {
    clearInterval(timer);
    clearInterval(beep);
    sound.close().catch(() => {});
    stream.getTracks().forEach((track) => track.stop());
  };
  return { kind: 'test', stream, sound, stop };
}

// --- joining --------------------------------------------------------------------------------------------------------

function appHeaders() {
  return { Authorization: `Basic ${btoa(`OPENVIDUAPP:${access.secret}`)}`, 'Content-Type': 'application/json' };
}

/** A new connection of the session, which is made where it is missing. */
async function newToken() {
  const body = JSON.stringify({ customSessionId: access.session });
  await request('/openvidu/api/sessions', { method: 'POST', body, headers: appHeaders() }).catch((error) => {
    if (error.status !== 409) throw error;
  });
  const path = `/openvidu/api/sessions/${encodeURIComponent(access.session)}/connection`;
  const response = await request(path, { method: 'POST', body: '{}', headers: appHeaders() });
  return new URL((await response.json()).token).searchParams.get('token');
}

async function join(event) {
  event?.preventDefault();
  if (document.body.dataset.phase !== 'lobby') return;
  $('error').textContent = '';
  phase('joining');
  try {
    await previewing;
    const name = $('name').value.trim();
    store('name', name);
    let token = link.get('token');
    if (!token) {
      access = { secret: $('secret').value, session: $('session').value.trim() };
      store('session', access.session);
      store('secret', access.secret);
      token = await newToken();
    }
    if (own?.kind === 'test') {
      own.stop();
      own = testPicture(name);
    }
    await enter(token, name);
  } catch (error) {
    call?.leave();
    call = null;
    phase('lobby');
    fail(error);
  }
}

async function enter(token, name) {
  call = new Call({ token, name });
  call.addEventListener('change', render);
  call.addEventListener('ended', ended);
  own?.sound?.resume().catch(() => {});
  await call.start(own ? new MediaStream(own.stream.getTracks()) : null);
  $('title').textContent = call.sessionId;
  $('copy').hidden = !access;
  $('mute-audio').hidden = !call.stream?.getAudioTracks().length;
  $('mute-video').hidden = !call.stream?.getVideoTracks().length;
  $('share').hidden = !call.stream || !navigator.mediaDevices?.getDisplayMedia;
  phase('call');
  render();
}

/** Joins again where that is possible: the session can be used again at once on another media node. */
async function ended({ detail }) {
  clear();
  const name = call.name;
  call = null;
  if (detail.reason === 'nodeCrashed' && access) {
    toast('The media node has failed. Joining again…');
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        return await enter(await newToken(), name);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }
  phase('lobby');
  fail(new Error(detail.message));
}

function clear() {
  for (const tile of tiles.values()) tile.remove();
  tiles.clear();
  $('audio').replaceChildren();
}

function leave() {
  call?.leave();
  clear();
  call = null;
  link.delete('token');
  history.replaceState(null, '', location.pathname);
  document.body.classList.remove('linked');
  phase('lobby');
  preview();
}

// --- the grid -------------------------------------------------------------------------------------------------------

function render() {
  if (!call || document.body.dataset.phase !== 'call') return;
  const filled = call.filledSlots();
  const videos = new Map(filled.filter((slot) => slot.kind === 'video').map((slot) => [slot.publisherId, slot]));
  const people = [...call.participants.values()];
  const present = new Set(['self', ...people.map((person) => person.id)]);
  for (const [id, tile] of tiles) {
    if (!present.has(id)) {
      tile.remove();
      tiles.delete(id);
    }
  }
  paintTile('self', {
    name: `${call.name} (you)`,
    track: call.stream?.getVideoTracks()[0],
    live: !!call.stream?.getVideoTracks().length && !call.muted.video,
    silent: call.muted.audio || !call.stream?.getAudioTracks().length,
    classes: { self: true, test: own?.kind === 'test', screen: sharing !== null },
  });
  for (const person of people) {
    const slot = videos.get(person.id);
    paintTile(person.id, {
      name: person.name,
      track: slot && call.receiver('video', slot.slot)?.track,
      live: !!slot && !person.muted?.video,
      silent: person.muted?.audio || !person.streamId || !person.audio,
      classes: { speaking: call.speakers[0] && call.speakers[0] === person.streamId, screen: person.muted?.screen ?? person.typeOfVideo === 'SCREEN' },
    });
  }
  playAudio();
  $('count').textContent = people.length ? `${people.length + 1} people` : 'only you so far';
  $('health').textContent = healthText();
  press('mute-audio', call.muted.audio, call.muted.audio ? 'mic-off' : 'mic', call.muted.audio ? 'Unmute microphone' : 'Mute microphone');
  press('mute-video', call.muted.video, call.muted.video ? 'cam-off' : 'cam', call.muted.video ? 'Start picture' : 'Stop picture');
  layout();
}

function healthText() {
  const states = [call.publishing, call.playing].filter(Boolean).map((media) => media.pc.connectionState);
  if (!call.events.open) return 'reconnecting to the server…';
  if (states.some((state) => state === 'disconnected' || state === 'failed')) return 'reconnecting media…';
  return states.every((state) => state === 'connected') ? '' : 'connecting…';
}

function paintTile(id, { name, track, live, silent, classes }) {
  let tile = tiles.get(id);
  if (!tile) {
    tile = document.createElement('div');
    tile.className = 'tile';
    tile.dataset.connection = id;
    const avatar = Object.assign(document.createElement('div'), { className: 'avatar' });
    const video = Object.assign(document.createElement('video'), { autoplay: true, muted: true, playsInline: true });
    const label = Object.assign(document.createElement('div'), { className: 'label' });
    label.innerHTML = '<svg><use href="#mic-off"/></svg><span></span>';
    tile.append(avatar, video, label);
    tiles.set(id, tile);
    $('grid').append(tile);
  }
  const [avatar, video, label] = tile.children;
  label.lastChild.textContent = name;
  avatar.textContent = [...name][0]?.toUpperCase() || '?';
  avatar.style.background = `hsl(${hueOf(name)} 45% 42%)`;
  if (video.srcObject?.getTracks()[0] !== track) {
    video.srcObject = track ? new MediaStream([track]) : null;
    if (track) video.play().catch(() => {});
  }
  tile.classList.toggle('live', !!track && live);
  tile.classList.toggle('silent', !!silent);
  for (const [key, on] of Object.entries(classes)) tile.classList.toggle(key, !!on);
}

/** One element for each audio slot, playing all the time; who is in it changes by itself. */
function playAudio() {
  const holder = $('audio');
  const connection = call.playing?.pc;
  if (!connection || holder.dataset.resource === call.playing.resource) return;
  holder.dataset.resource = call.playing.resource || '';
  holder.replaceChildren();
  for (const { receiver } of connection.getTransceivers()) {
    if (receiver.track.kind !== 'audio') continue;
    const element = Object.assign(document.createElement('audio'), { autoplay: true, srcObject: new MediaStream([receiver.track]) });
    holder.append(element);
    element.play().catch((error) => {
      if (error.name === 'NotAllowedError') toast('Click anywhere to hear the others.', 0);
    });
  }
}

/** The number of columns with the largest 16:9 tiles. */
function layout() {
  const grid = $('grid');
  const all = [...grid.children];
  const { clientWidth: width, clientHeight: height } = grid;
  const gap = 8;
  let best = { size: 0 };
  for (let columns = 1; columns <= all.length; columns++) {
    const rows = Math.ceil(all.length / columns);
    const roomWide = (width - gap * (columns - 1)) / columns;
    const roomTall = (height - gap * (rows - 1)) / rows;
    const wide = Math.min(roomWide, (roomTall * 16) / 9);
    // Side by side reads better than one above the other, where that costs little.
    if (wide > best.size * (width > height ? 0.92 : 1)) best = { size: wide, columns, rows, roomWide, roomTall };
  }
  // On a narrow screen tiles may be taller than 16:9, so that the room is used.
  const wide = best.size;
  const tall = Math.min(best.roomTall, wide * (width < height ? 1.2 : 0.5625));
  const top = (height - best.rows * tall - gap * (best.rows - 1)) / 2;
  all.forEach((tile, index) => {
    const row = Math.floor(index / best.columns);
    const inRow = Math.min(best.columns, all.length - row * best.columns);
    const left = (width - inRow * wide - gap * (inRow - 1)) / 2;
    Object.assign(tile.style, {
      width: `${wide}px`,
      height: `${tall}px`,
      left: `${left + (index % best.columns) * (wide + gap)}px`,
      top: `${top + row * (tall + gap)}px`,
    });
  });
}

// --- tools ----------------------------------------------------------------------------------------------------------

let sharing = null;

async function share() {
  if (sharing) return stopSharing();
  try {
    const screen = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 15 } });
    const [track] = screen.getVideoTracks();
    track.contentHint = 'detail';
    track.onended = stopSharing;
    sharing = { track, camera: call.stream.getVideoTracks()[0] };
    if (!sharing.camera) throw new Error('join with a picture to share the screen');
    await call.setScreen(track, true);
  } catch (error) {
    sharing?.track.stop();
    sharing = null;
    if (error.name !== 'NotAllowedError') toast(`The screen cannot be shared: ${error.message}`);
  }
  press('share', sharing !== null, 'screen', sharing ? 'Stop sharing' : 'Share screen');
  render();
}

async function stopSharing() {
  if (!sharing) return;
  const { track, camera } = sharing;
  sharing = null;
  track.stop();
  await call?.setScreen(camera, false);
  press('share', false, 'screen', 'Share screen');
  render();
}

async function copyLink() {
  try {
    const token = await newToken();
    const url = `${location.origin}/#token=${token}`;
    await navigator.clipboard.writeText(url).then(
      () => toast('A join link for one person is in the clipboard.'),
      () => toast(url, 0),
    );
    return url;
  } catch (error) {
    toast(explain(error));
    return '';
  }
}

function press(id, pressed, icon, title) {
  const button = $(id);
  button.setAttribute('aria-pressed', String(pressed));
  button.title = title;
  button.querySelector('use').setAttribute('href', `#${icon}`);
}

let toastTimer;
function toast(text, ms = 4000) {
  $('toast').textContent = text;
  $('toast').classList.add('shown');
  clearTimeout(toastTimer);
  if (ms) toastTimer = setTimeout(() => $('toast').classList.remove('shown'), ms);
}

function hueOf(text) {
  let hash = 7;
  for (const char of text.replace(/ \(you\)$/, '')) hash = (hash * 31 + char.codePointAt(0)) % 360;
  return hash;
}

// --- start ----------------------------------------------------------------------------------------------------------

$('form').addEventListener('submit', join);
for (const choice of document.querySelectorAll('input[name=media]')) choice.addEventListener('change', preview);
$('mute-audio').addEventListener('click', () => call?.setMuted('audio', !call.muted.audio));
$('mute-video').addEventListener('click', () => call?.setMuted('video', !call.muted.video));
$('share').addEventListener('click', share);
$('copy').addEventListener('click', copyLink);
$('leave').addEventListener('click', leave);
addEventListener('resize', () => call && layout());
addEventListener('click', () => {
  for (const element of $('audio').children) element.play().catch(() => {});
  if ($('toast').textContent.startsWith('Click')) $('toast').classList.remove('shown');
});
addEventListener('pagehide', () => call?.suspend());
addEventListener('hashchange', () => location.reload());

$('name').value = link.get('name') || store('name');
$('session').value = link.get('session') || store('session');
$('secret').value = store('secret');
document.body.classList.toggle('linked', link.has('token'));
if (link.has('token')) {
  $('tagline').textContent = 'You are invited to a call.';
  for (const id of ['session', 'secret']) $(id).required = false;
}
const wanted = link.get('media');
if (wanted) document.querySelector(`input[name=media][value="${CSS.escape(wanted)}"]`)?.click();
else preview();

/** For tests and for the curious: what the page knows. */
window.plenum = {
  get phase() { return document.body.dataset.phase; },
  get error() { return $('error').textContent; },
  get call() { return call; },
  get state() {
    if (!call) return null;
    return {
      sessionId: call.sessionId,
      connectionId: call.connectionId,
      publish: call.publishing?.pc.connectionState ?? null,
      play: call.playing?.pc.connectionState ?? null,
      participants: [...call.participants.values()],
      slots: call.filledSlots(),
      speakers: call.speakers,
      events: { ...call.events },
    };
  },
  stats: () => call?.stats(),
  join,
  leave,
  copyLink,
};
if (link.get('autojoin') === '1') join();
