import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestListener,
  request,
} from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import { type EgressOptions, openEgress } from "../../../src/core/egress/egress.ts";
import { connectProxy } from "../../support/fakes/connect-proxy.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const key = "sk-real-key-of-the-operator";

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
}

/** A provider that answers as `listener` does, and the way to it. */
async function world(listener: RequestListener, own: Partial<EgressOptions> = {}) {
  await using made = new AsyncDisposableStack();
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  made.defer(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const refused: string[] = [];
  const egress = made.use(
    await openEgress({
      provider: {
        upstream: new URL(`http://127.0.0.1:${port}/base`),
        header: "x-api-key",
        key: async () => key,
      },
      hosts: [],
      listens: "socket",
      onRefused: (host, reason) => refused.push(`${host} ${reason}`),
      ...own,
    }),
  );
  const socketPath = egress.socket ?? "";
  const all = made.move();
  return {
    ...{ egress, port, refused, socketPath },
    open: ({ method = "POST", path = "/v1/messages", headers }: Asked) =>
      request({ socketPath, method, path, headers: { "x-api-key": egress.token, ...headers } }),
    async ask(
      asked: Asked,
    ): Promise<{ status: number; headers: IncomingMessage["headers"]; body: string }> {
      const outgoing = this.open(asked);
      outgoing.end(asked.body);
      const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
      return { status: answer.statusCode ?? 0, headers: answer.headers, body: await text(answer) };
    },
    /** The status of CONNECT, and the tunnel when there is one. */
    async connect(authority: string): Promise<{ status: number; socket: Socket }> {
      const outgoing = request({ socketPath, method: "CONNECT", path: authority });
      outgoing.end();
      const [answer, socket] = (await once(outgoing, "connect")) as [IncomingMessage, Socket];
      return { status: answer.statusCode ?? 0, socket };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

const echo: RequestListener = (incoming, response) => {
  void text(incoming).then((body) => {
    const { method, url, rawHeaders } = incoming;
    response.end(JSON.stringify({ method, url, rawHeaders, body }));
  });
};

/** A server of plain bytes that answers each line. */
async function tcpEcho() {
  const server = createTcpServer((socket) => {
    socket.on("error", () => {}).on("data", (data) => socket.write(`got ${data}`));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

/** An answer that changes the protocol, which no request asked for. */
const switching: RequestListener = ({ socket }) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
};

describe("the way to the model provider", () => {
  test("a provider that changes the protocol is an error for the agent, and so is a host", {
    timeout: 20_000,
  }, async () => {
    await using other = await world(switching);
    const host = `127.0.0.1:${other.port}`;
    await using w = await world(switching, { hosts: [host, "127.0.0.1"] });
    const { status, body } = await w.ask({ body: "x" });
    assert.equal(status, 502, body);
    assert.match(body, /gave no answer/);
    const { status: ofHost } = await w.ask({ path: `http://${host}/`, method: "GET" });
    assert.equal(ofHost, 502);
  });

  test("the provider gets the key in place of the token, on its own address, and nothing else is changed", async () => {
    const seen: IncomingMessage[] = [];
    await using w = await world((incoming, response) => {
      seen.push(incoming);
      echo(incoming, response);
    });
    const { status, body } = await w.ask({
      path: "/v1/messages?beta=true",
      headers: {
        ...{
          host: "evil.test",
          authorization: "Bearer other",
          cookie: "c=1",
          "x-goog-api-key": "x",
        },
        ...{ "anthropic-version": "2023-06-01", connection: "close, x-hop", "x-hop": "1" },
        ...{ "proxy-authorization": "Basic eDp5", te: "trailers", "content-length": "5" },
      },
      body: "hello",
    });
    assert.equal(status, 200);
    const got = JSON.parse(body);
    assert.deepEqual(
      [got.method, got.url, got.body],
      ["POST", "/base/v1/messages?beta=true", "hello"],
    );
    const names = got.rawHeaders.filter((_: string, at: number) => at % 2 === 0);
    assert.deepEqual(names.map((name: string) => name.toLowerCase()).sort(), [
      ...["accept-encoding", "anthropic-version", "content-length", "host"],
      "x-api-key",
    ]);
    assert.equal(seen[0]?.headers["x-api-key"], key);
    assert.equal(seen[0]?.headers.host, `127.0.0.1:${w.port}`);
    assert.ok(!body.includes(w.egress.token));
  });

  test("without the token of the attempt nothing reaches the provider", async () => {
    let asked = 0;
    const urls: unknown[] = [];
    await using w = await world(({ url }, response) => {
      asked += 1;
      urls.push(url);
      response.end();
    });
    for (const headers of [
      { "x-api-key": "" },
      { "x-api-key": "other" },
      { "x-api-key": `${w.egress.token}x` },
      { "x-api-key": key },
      { "x-api-key": "other", authorization: "Bearer other" },
    ]) {
      assert.equal((await w.ask({ headers })).status, 401);
    }
    assert.equal(asked, 0);
    const bearer = { "x-api-key": "", authorization: `Bearer ${w.egress.token}` };
    assert.equal((await w.ask({ headers: bearer })).status, 200);
    const byQuery = { path: `/v1/models?key=${w.egress.token}`, headers: { "x-api-key": "" } };
    assert.equal((await w.ask({ ...byQuery, method: "GET" })).status, 200);
    assert.equal(asked, 2);
    assert.ok(!urls.join().includes(w.egress.token), "the token is no matter of the provider");
  });

  test("a bearer is sent as one; the key is read for each request", async () => {
    const keys = ["one", "two"];
    const seen: unknown[] = [];
    await using w = await world((incoming, response) => {
      seen.push(incoming.headers.authorization, incoming.url);
      response.end();
    }, {});
    await using second = await openEgress({
      provider: {
        upstream: new URL(`http://127.0.0.1:${w.port}`),
        header: "authorization",
        key: async () => keys.shift() ?? "",
      },
      ...{ hosts: [], listens: "port", onRefused: () => {} },
    });
    for (const _ of ["first", "second"]) {
      const answer = await fetch(`http://127.0.0.1:${second.port}/v1?key=${second.token}&a=b`);
      assert.equal(answer.status, 200);
    }
    assert.deepEqual(seen, ["Bearer one", "/v1?a=b", "Bearer two", "/v1?a=b"]);
  });

  test("parts of an answer and of a request are passed on while the rest is still to come", async () => {
    const begun = Promise.withResolvers<string>();
    const more = Promise.withResolvers<void>();
    await using w = await world((incoming, response) => {
      incoming.once("data", (part: Buffer) => begun.resolve(part.toString()));
      incoming.on("end", () => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write("data: one\n\n");
        void more.promise.then(() => response.end("data: two\n\n"));
      });
    });
    const outgoing = w.open({});
    outgoing.write("first half");
    assert.equal(await begun.promise, "first half");
    outgoing.end("second half");
    const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
    const [first] = (await once(answer, "data")) as [Buffer];
    assert.equal(first.toString(), "data: one\n\n");
    more.resolve();
    assert.equal(await text(answer), "data: two\n\n");
    assert.equal(answer.headers["content-type"], "text/event-stream");
  });

  test("a provider that repeats the key does not tell it to the agent", async () => {
    await using w = await world((incoming, response) => {
      const sent = String(incoming.headers["x-api-key"]);
      response.writeHead(401, { "x-seen": sent });
      response.write(`Incorrect key: ${sent.slice(0, 9)}`);
      response.end(sent.slice(9));
    });
    const { status, headers, body } = await w.ask({});
    assert.equal(status, 401);
    assert.equal(headers["x-seen"], "[hidden]");
    assert.equal(body, "Incorrect key: [hidden]");
  });

  test("a word in place of a key, as local providers take it, does not change their answers", async () => {
    const words: RequestListener = (incoming, response) =>
      response.end(`none of it: ${incoming.headers["x-api-key"]}`);
    const server = createServer(words).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const upstream = new URL(`http://127.0.0.1:${port}`);
    const provider = { upstream, header: "x-api-key", key: async () => "none" };
    await using w = await world(echo, { provider });
    assert.equal((await w.ask({})).body, "none of it: none");
    server.closeAllConnections();
    server.close();
  });

  test("a provider that cannot be reached is a 502 that names it", async () => {
    const upstream = new URL("http://127.0.0.1:1");
    const provider = { upstream, header: "x-api-key", key: async () => key };
    await using w = await world(echo, { provider });
    const { status, body } = await w.ask({});
    assert.equal(status, 502);
    assert.match(JSON.parse(body).error.message, /^symphony: the model provider 127\.0\.0\.1:1 /);
  });

  test("A11: a page of a firewall is not passed on as the provider's word about the key", async () => {
    await using w = await world((_, response) => {
      response.writeHead(403, { "content-type": "text/html; charset=utf-8" });
      response.end("<!DOCTYPE html><title>Blocked</title>");
    });
    const { status, body } = await w.ask({});
    assert.equal(status, 502);
    assert.match(body, /a web page instead of the provider's answer \(403\)/);
  });

  test("headers beyond the limit are refused, and the next request works", async () => {
    await using w = await world(echo);
    const { status } = await w.ask({ headers: { "x-long": "x".repeat(70_000) } });
    assert.equal(status, 431);
    assert.equal((await w.ask({})).status, 200);
  });

  test("the request of an agent that is gone ends at the provider", async () => {
    const gone = Promise.withResolvers<void>();
    await using w = await world((incoming, response) => {
      response.on("close", () => gone.resolve());
      incoming.resume();
      response.write("data: one\n\n");
    });
    const outgoing = w.open({});
    outgoing.on("error", () => {});
    outgoing.end();
    await once(outgoing, "response");
    outgoing.destroy();
    await gone.promise;
  });

  test("only the user sees the socket; after the end it is gone, with every connection", async () => {
    const held = Promise.withResolvers<void>();
    let w: Awaited<ReturnType<typeof world>>;
    {
      await using open = await world((incoming, response) => {
        incoming.resume();
        response.write("data: one\n\n");
        held.resolve();
      });
      w = open;
      const { mode } = await stat(dirname(w.socketPath));
      assert.equal(mode & 0o777, 0o700);
      const outgoing = w.open({});
      outgoing.end();
      const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
      await held.promise;
      await open.egress[Symbol.asyncDispose]();
      await assert.rejects(text(answer));
    }
    assert.ok(!existsSync(dirname(w.socketPath)));
    await assert.rejects(w.ask({}), { code: "ENOENT" });
  });
});

describe("the way to other hosts", () => {
  test("at safe there is none, whatever the form of the request", async () => {
    await using w = await world(echo);
    const address = `127.0.0.1:${w.port}`;
    assert.equal((await w.connect(address)).status, 403);
    assert.equal((await w.ask({ path: `http://${address}/` })).status, 403);
    assert.equal((await w.ask({ path: `HTTPS://${address}/` })).status, 403);
    assert.deepEqual(w.refused, [
      `${address} is not in agent.network`,
      `HTTPS://${address}/ is not the name of a host and a port`,
    ]);
    // A path that looks like another host is one of the provider.
    assert.equal(
      JSON.parse((await w.ask({ path: `//evil.test/x` })).body).url,
      "/base//evil.test/x",
    );
  });

  test("a host of the list is reached at the address that was checked", async () => {
    await using tcp = await tcpEcho();
    const answers = [["127.0.0.1"], ["203.0.113.1"]];
    await using w = await world(echo, {
      hosts: [`allowed.test:${tcp.port}`, "127.0.0.1"],
      resolve: async () => answers.shift() ?? [],
    });
    const { status, socket } = await w.connect(`Allowed.test.:${tcp.port}`);
    assert.equal(status, 200);
    socket.write("hello");
    const [data] = (await once(socket, "data")) as [Buffer];
    assert.equal(data.toString(), "got hello");
    assert.equal(answers.length, 1, "the name was looked up once");
    await w.egress[Symbol.asyncDispose]();
    await eventually("the tunnel ended", async () => socket.destroyed || socket.readableEnded);
  });

  test("a name of the list with an inner address is refused, and so is every other way to one", async () => {
    await using tcp = await tcpEcho();
    const { port } = tcp;
    const names: Readonly<Record<string, readonly string[]>> = {
      "rebound.test": ["127.0.0.1"],
      "mapped.test": ["::ffff:127.0.0.1"],
      "metadata.test": ["169.254.169.254", "fe80::1"],
    };
    await using w = await world(echo, {
      hosts: ["*.test:443", `*.test:${port}`],
      resolve: async (name) => names[name] ?? [],
    });
    for (const host of [
      ...["rebound.test", "mapped.test", "metadata.test", "nowhere.test", "127.0.0.1", "127.1"],
      ...["2130706433", "[::1]", "[::ffff:127.0.0.1]", "localhost", "a.test@127.0.0.1"],
      ...["127.0.0.1#.test", "127.0.0.1?.test"],
    ]) {
      // Node itself refuses an address with a fragment.
      const right = host.includes("#") ? 400 : 403;
      assert.equal((await w.connect(`${host}:${port}`)).status, right, host);
      const { status } = await w.ask({ path: `http://${host}:${port}/` });
      assert.equal(status, right, host);
    }
    assert.ok(w.refused.some((line) => line.startsWith("rebound.test:") && line.includes("inner")));
  });

  test("plain http goes to the checked address too", async () => {
    await using target = await world(echo);
    const address = `plain.test:${target.port}`;
    await using w = await world(echo, {
      hosts: [address, "127.0.0.1"],
      resolve: async () => ["127.0.0.1"],
    });
    const headers = { "x-api-key": "kept", "proxy-connection": "keep-alive" };
    const { status, body } = await w.ask({ path: `http://${address}/p?q`, headers, body: "b" });
    assert.equal(status, 200);
    const got = JSON.parse(body);
    assert.deepEqual([got.url, got.body], ["/p?q", "b"]);
    assert.ok(!got.rawHeaders.includes("proxy-connection"));
  });

  test("the proxy of this machine is used for the provider and for hosts", async (t) => {
    await using tcp = await tcpEcho();
    await using w = await world(echo);
    await using proxy = await connectProxy({ "host.test": tcp.port, "provider.test": w.port });
    const before = { ...process.env };
    t.after(() => {
      for (const name of ["HTTPS_PROXY", "HTTP_PROXY"]) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
    });
    process.env["HTTPS_PROXY"] = proxy.url.replace("://", "://user:pass@");
    process.env["HTTP_PROXY"] = proxy.url;
    const provider = {
      upstream: new URL("http://provider.test/base"),
      header: "x-api-key",
      key: async () => key,
    };
    // The machine itself finds no address for the host.
    const resolve = () => Promise.reject(new Error("ENOTFOUND"));
    await using behind = await world(echo, { provider, hosts: ["host.test"], resolve });
    assert.equal(JSON.parse((await behind.ask({})).body).url, "/base/v1/messages");
    const { status, socket } = await behind.connect("host.test:443");
    assert.equal(status, 200);
    socket.write("hello");
    const [data] = (await once(socket, "data")) as [Buffer];
    assert.equal(data.toString(), "got hello");
    assert.deepEqual(proxy.asked, ["provider.test:80", "host.test:443"]);
    assert.equal(proxy.authorizations[1], `Basic ${btoa("user:pass")}`);
    proxy.mode = "refuse";
    const secure = { ...provider, upstream: new URL("https://provider.test") };
    await using shut = await world(echo, { provider: secure, resolve });
    const answer = await shut.ask({});
    assert.equal(answer.status, 407);
    assert.match(
      answer.body,
      /the proxy 127\.0\.0\.1:\d+ does not lead to provider\.test: proxy authentication required/,
    );
    assert.doesNotMatch(answer.body, /pass@|user:/);
    socket.destroy();
  });
});
