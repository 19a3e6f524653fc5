// A backend on top of the unmodified openvidu-node-client library: `node node-client.mjs URL SECRET SESSION PHASE`.
// `prepare` makes the session and prints a token; `check` looks at it while one participant publishes; `end` ends it.
// Whatever is not as the library's documentation says throws.
import assert from "node:assert/strict";
import { OpenVidu, OpenViduRole } from "openvidu-node-client";

const [url, secret, name, phase] = process.argv.slice(2);
const openvidu = new OpenVidu(url, secret);

const phases = {
  async prepare() {
    const session = await openvidu.createSession({ customSessionId: name, defaultRecordingProperties: { frameRate: 20 } });
    assert.equal(session.sessionId, name);
    // Another creation of the same name gives the same session.
    assert.equal((await openvidu.createSession({ customSessionId: name })).sessionId, name);
    // The first fetch fills in what the library does not take from the answer of the creation.
    await session.fetch();
    assert.equal(await session.fetch(), false);
    const pending = await session.createConnection({ role: OpenViduRole.MODERATOR, data: "server" });
    assert.equal(pending.status, "pending");
    assert.equal(pending.connectionProperties.role, "MODERATOR");
    assert.equal(await session.fetch(), false, "what the library made itself is no change");
    await session.forceDisconnect(pending);
    assert.equal(session.connections.length, 0);
    assert.equal(await session.fetch(), false);
    const connection = await session.createConnection({ data: "server" });
    return connection.token;
  },

  async check() {
    assert.equal(await openvidu.fetch(), true);
    assert.equal(await openvidu.fetch(), false, "nothing has changed since");
    const session = openvidu.activeSessions.find((it) => it.sessionId === name);
    assert.equal(session.properties.defaultRecordingProperties.frameRate, 20);
    assert.equal(session.activeConnections.length, 1);
    const [connection] = session.activeConnections;
    assert.equal(connection.serverData, "server");
    assert.equal(connection.publishers.length, 1);
    const [publisher] = connection.publishers;
    assert.deepEqual([publisher.hasAudio, publisher.hasVideo, publisher.typeOfVideo], [true, true, "CAMERA"]);
    assert.equal(publisher.videoDimensions, JSON.stringify({ width: 320, height: 240 }));
    const changed = await session.updateConnection(connection.connectionId, { record: false });
    assert.equal(changed.connectionProperties.record, false);
    assert.equal(await session.fetch(), false, "what the library changed itself is no change");
    // The library forgets one of its two fields for a role.
    await session.updateConnection(connection.connectionId, { role: OpenViduRole.MODERATOR });
    assert.equal(await session.fetch(), true);
    assert.equal(await session.fetch(), false);
    await session.forceUnpublish(publisher);
    assert.equal(connection.publishers.length, 0);
    assert.equal(await session.fetch(), false);
    await assert.rejects(session.forceUnpublish("str_CAM_none_con_none"), /404/);
    return connection.connectionId;
  },

  async end() {
    await openvidu.fetch();
    const session = openvidu.activeSessions.find((it) => it.sessionId === name);
    await session.forceDisconnect(session.activeConnections[0]);
    // With its last participant the session has ended.
    await assert.rejects(session.fetch(), /404/);
    await openvidu.fetch();
    assert.equal(openvidu.activeSessions.length, 0);
    return null;
  },
};

console.log(JSON.stringify(await phases[phase]()));
process.exit(0);
