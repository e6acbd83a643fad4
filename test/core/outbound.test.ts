// S13 is a row of the cases of scheduler and configuration: proxies of the environment. D2 is one of the desk's cases.

import assert from "node:assert/strict";
import { createServer as createPlain, type RequestListener, request } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { gzipSync } from "node:zlib";
import { z } from "zod";
import { askOpenai } from "../../src/core/agent/openai/models.ts";
import { openaiSection } from "../../src/core/agent/openai/settings.ts";
import { GithubClient } from "../../src/core/github/client.ts";
import { githubOf } from "../../src/core/github/settings.ts";
import { isThisMachine, outbound, proxyFor, proxySecrets } from "../../src/core/outbound.ts";
import { cloneInto } from "../../src/core/repository/clone.ts";
import { remoteEnvironment } from "../../src/core/repository/credential.ts";
import { Mirrors } from "../../src/core/repository/mirrors.ts";
import { learnEnvironment } from "../../src/core/secrets/learn.ts";
import { type ConnectProxy, connectProxy } from "../support/fakes/connect-proxy.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { gitSite } from "../support/fakes/git-site.ts";
import { linearTracker } from "../support/fakes/linear-tracker.ts";
import { modelServer } from "../support/fakes/model-server.ts";
import { FakeReceiver } from "../support/fakes/receiver.ts";
import { certificate } from "../support/makers/certificate.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { cloneWorld } from "../support/worlds/clone-world.ts";
import { NoticeWorld } from "../support/worlds/notices.ts";
import { OpenaiBench } from "../support/worlds/openai-bench.ts";
import { eventually } from "../support/worlds/symphony.ts";

const made = certificate(
  "api.example",
  "models.example",
  "github.example",
  "git.example",
  "hooks.example",
);
if (made) setDefaultCACertificates([...getCACertificates("default"), made.cert]);
after(() => made?.[Symbol.dispose]());
const caFile = made?.path ?? "";
const skip = made === null && "openssl is missing";

async function listening(server: Server): Promise<{ port: number } & AsyncDisposable> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async [Symbol.asyncDispose]() {
      if ("closeAllConnections" in server)
        (server as ReturnType<typeof createPlain>).closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const secured = (answer: RequestListener) =>
  listening(createServer({ key: made?.key, cert: made?.cert }, answer));

/** Passes each request on to a server without TLS. */
const onwardTo =
  (host: string): RequestListener =>
  (incoming, response) => {
    const { method, headers, url } = incoming;
    const onward = request(`http://${host}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    incoming.pipe(onward);
  };

/** The environment of this process while `work` runs. */
async function withEnv<T>(
  env: Readonly<Record<string, string>>,
  work: () => Promise<T>,
): Promise<T> {
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  try {
    return await work();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

describe("S13: which proxy an address has", () => {
  const https = "https://api.linear.app/graphql";
  const p = "http://proxy.example:3128";
  const cases: readonly [string, string, Record<string, string>, string | null][] = [
    ["no variable", https, {}, null],
    ["HTTPS_PROXY", https, { HTTPS_PROXY: p }, p],
    ["https_proxy before HTTPS_PROXY", https, { https_proxy: p, HTTPS_PROXY: "http://x" }, p],
    ["HTTP_PROXY for https", https, { HTTP_PROXY: p }, null],
    ["HTTP_PROXY for http", "http://plain.example/", { HTTP_PROXY: p }, p],
    ["ALL_PROXY", https, { ALL_PROXY: p }, p],
    ["without a scheme", https, { HTTPS_PROXY: "proxy.example:3128" }, p],
    ["an empty one", https, { HTTPS_PROXY: " " }, null],
    ["NO_PROXY by name", https, { HTTPS_PROXY: p, NO_PROXY: "api.linear.app" }, null],
    ["NO_PROXY by domain", https, { HTTPS_PROXY: p, no_proxy: "x.example, linear.app" }, null],
    ["NO_PROXY with a dot", https, { HTTPS_PROXY: p, NO_PROXY: ".linear.app" }, null],
    ["NO_PROXY with a star", https, { HTTPS_PROXY: p, NO_PROXY: "*.linear.app" }, null],
    ["NO_PROXY of everything", https, { HTTPS_PROXY: p, NO_PROXY: "*" }, null],
    ["NO_PROXY of a part of a name", https, { HTTPS_PROXY: p, NO_PROXY: "inear.app" }, p],
    ["NO_PROXY with the port", https, { HTTPS_PROXY: p, NO_PROXY: "api.linear.app:443" }, null],
    ["NO_PROXY with another port", https, { HTTPS_PROXY: p, NO_PROXY: "api.linear.app:80" }, p],
    ["NO_PROXY by network", "https://10.1.2.3/", { HTTPS_PROXY: p, NO_PROXY: "10.0.0.0/8" }, null],
    ["NO_PROXY by IPv6", "https://[fd00::1]/", { HTTPS_PROXY: p, NO_PROXY: "fd00::/8" }, null],
    ["this machine", "http://127.0.0.1:4000/", { HTTP_PROXY: p, ALL_PROXY: p }, null],
    ["this machine by name", "http://localhost:11434/v1", { HTTP_PROXY: p }, null],
    ["this machine by IPv6", "https://[::1]:8/", { HTTPS_PROXY: p }, null],
  ];
  for (const [name, url, env, expected] of cases) {
    test(`S13: ${name}`, () => {
      assert.equal(
        proxyFor(new URL(url), env)?.origin ?? null,
        expected && new URL(expected).origin,
      );
    });
  }

  test("S13: another kind of proxy is refused by its variable's name, without its password", () => {
    const env = { HTTPS_PROXY: "socks5://user:canary@proxy.example:1080" };
    assert.throws(
      () => proxyFor(new URL(https), env),
      ({ cause }: Error) => {
        assert.match(String(cause), /HTTPS_PROXY is not the address of an http or https proxy/);
        assert.doesNotMatch(String(cause), /canary/);
        return true;
      },
    );
  });

  test("S13: this machine has many names", () => {
    for (const host of ["localhost", "a.localhost", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"]) {
      assert.ok(isThisMachine(new URL(`http://${host}/`).hostname), host);
    }
    for (const host of ["localhost.example", "128.0.0.1", "10.0.0.1", "127.0.0.1.example"]) {
      assert.ok(!isThisMachine(host), host);
    }
  });

  test("S13: a proxy's password is a secret in each form in which it is sent", () => {
    const env = { HTTPS_PROXY: "http://me:p%40ss-canary@proxy.example:3128" };
    const token = Buffer.from("me:p@ss-canary").toString("base64");
    assert.deepEqual(proxySecrets(env), ["p%40ss-canary", "p@ss-canary", token]);
    const added: string[] = [];
    learnEnvironment(env, { add: (value) => void added.push(value) });
    assert.deepEqual(added, proxySecrets(env));
  });
});

describe("S13: through a real proxy", { skip }, () => {
  async function through(answer: RequestListener, work: (proxy: ConnectProxy) => Promise<void>) {
    await using target = await secured(answer);
    const names = ["api", "models", "github", "git", "hooks"].map((name) => [
      `${name}.example`,
      target.port,
    ]);
    await using proxy = await connectProxy(Object.fromEntries(names));
    const url = new URL(proxy.url);
    [url.username, url.password] = ["me", "p%40ss"];
    await withEnv({ HTTPS_PROXY: url.href, NO_PROXY: "" }, () => work(proxy));
  }

  test("S13: a request is tunnelled with the proxy's credentials, and its answer is whole", async () => {
    const answer: RequestListener = (request, response) => {
      response.writeHead(200, { "content-encoding": "gzip", "x-seen": String(request.url) });
      response.end(gzipSync("hello ".repeat(1_000)));
    };
    await through(answer, async (proxy) => {
      const response = await outbound("https://api.example/some?where=1", {
        method: "POST",
        body: "x",
      });
      assert.equal(response.headers.get("x-seen"), "/some?where=1");
      assert.equal(await response.text(), "hello ".repeat(1_000));
      assert.deepEqual(proxy.asked, ["api.example:443"]);
      const basic = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;
      assert.deepEqual(proxy.authorizations, [basic]);
    });
  });

  for (const mode of ["refuse", "close"] as const) {
    test(`S13: a proxy that would ${mode} is asked once for each request, and named without its password`, async () => {
      await through(
        (_, response) => response.end(),
        async (proxy) => {
          proxy.mode = mode;
          await assert.rejects(outbound("https://api.example/"), (error: Error) => {
            const { message } = error.cause as Error;
            assert.match(message, /through the proxy 127\.0\.0\.1:\d+ of HTTPS_PROXY/);
            assert.doesNotMatch(message, /p@ss|p%40ss/);
            return true;
          });
          assert.equal(proxy.asked.length, 1);
        },
      );
    });
  }

  test("S13: a request that waits for its proxy ends with its signal", async () => {
    await through(
      (_, response) => response.end(),
      async (proxy) => {
        proxy.mode = "hang";
        const late = new AbortController();
        const asked = outbound("https://api.example/", { signal: late.signal });
        setTimeout(() => late.abort(new Error("late")), 50);
        await assert.rejects(asked, /late/);
      },
    );
  });

  test("S13: Linear, and the webhook's registration with it, goes through the proxy, and backs off from it", async () => {
    await through(
      (_, response) => response.writeHead(401, { "content-type": "application/json" }).end("{}"),
      async (proxy) => {
        const fake = { url: "https://api.example/graphql", project: "p", apiKey: "lin_api_k" };
        const { tracker } = linearTracker(fake, { timeoutMs: 5_000 });
        await assert.rejects(tracker.fetchIssuesByStates(["Todo"]), /did not accept the API key/);
        assert.deepEqual(proxy.asked, ["api.example:443"]);
        const order = {
          url: "https://me.example/webhooks/linear",
          secret: null,
          secretIsFixed: false,
        };
        await assert.rejects(tracker.registerWebhook?.(order) ?? Promise.resolve());
        assert.ok(proxy.asked.every((target) => target === "api.example:443"));
      },
    );
  });

  test("S13: the model provider goes through the proxy", async () => {
    const body = JSON.stringify({ data: [{ id: "m-1" }] });
    await through(
      (_, response) => response.writeHead(200, { "content-type": "application/json" }).end(body),
      async (proxy) => {
        const written = { base_url: "https://models.example/v1", api_key: "k-12345678" };
        const config = openaiSection.settings(openaiSection.schema.parse(written));
        const { signal } = new AbortController();
        const deps = { clock: new FakeClock(), signal, lookup: () => undefined };
        const models = await askOpenai(config, deps);
        assert.deepEqual(
          models.map(({ id }) => id),
          ["m-1"],
        );
        assert.deepEqual(proxy.asked, ["models.example:443"]);
      },
    );
  });

  test("S13: the turns of the built-in agent go through the proxy", async () => {
    await using models = await modelServer([{ text: "done" }]);
    await through(onwardTo(new URL(models.url).host), async (proxy) => {
      await using bench = await OpenaiBench.make({ base_url: "https://models.example/v1" });
      await using session = await bench.start({ level: "danger" });
      await session.turn("Say it.", { model: "m-1" });
      assert.deepEqual(
        bench.of("turn.completed").length,
        1,
        JSON.stringify(bench.events.slice(-3)),
      );
      assert.equal(models.asked.length, 1);
      assert.ok(proxy.asked.length > 0);
      assert.ok(proxy.asked.every((target) => target === "models.example:443"));
    });
  });

  test("S13: a clone goes through the proxy, with git's own credential for the site inside of the tunnel", async (t) => {
    const { dir, bare, order } = cloneWorld(t);
    gitIn(bare)("update-server-info");
    await using site = await gitSite({ dir, password: "canary-7f3a" });
    await through(onwardTo(site.host), async (proxy) => {
      const made = order({ url: "https://$APP_TOKEN@git.example/origin.git" });
      const { HTTPS_PROXY } = process.env;
      const env = { PATH: process.env["PATH"], HOME: dir, HTTPS_PROXY, GIT_SSL_CAINFO: caFile };
      const lookup = () => "canary-7f3a";
      const mirrors = new Mirrors({
        ...{ dir: join(dir, "mirrors"), clock: made.clock, env, intervalMs: 0 },
      });
      await cloneInto({ ...made, env, lookup, mirrors });
      assert.equal(gitIn(made.path)("rev-list", "--count", "HEAD").trim(), "2");
      assert.ok(site.logins.includes("x-access-token:canary-7f3a"));
      assert.ok(proxy.asked.length > 0);
      assert.ok(proxy.asked.every((target) => target === "git.example:443"));
      assert.ok(
        !JSON.stringify(proxy.authorizations).includes(Buffer.from("canary").toString("base64")),
      );
    });
  });

  test("S13: GitHub goes through the proxy", async () => {
    const body = JSON.stringify({ default_branch: "main", full_name: "acme/shop" });
    await through(
      (_, response) => response.writeHead(200, { "content-type": "application/json" }).end(body),
      async (proxy) => {
        const settings = githubOf({ base_url: "https://github.example/api/v3" }, () => "ghp_x");
        const client = new GithubClient({
          ...{ settings, clock: new FakeClock(), repository: { owner: "acme", name: "shop" } },
        });
        try {
          await client.read(z.unknown(), "GET /repos/{owner}/{repo}").catch(() => null);
          assert.ok(proxy.asked.length > 0);
          assert.ok(proxy.asked.every((target) => target === "github.example:443"));
        } finally {
          client.close();
        }
      },
    );
  });

  test("D2: a notice goes through the proxy, one to this machine does not, and no password is in its outcome", async () => {
    const paths: string[] = [];
    await using receiver = await FakeReceiver.open();
    await through(
      ({ url = "" }, response) => {
        paths.push(url);
        response.writeHead(200).end("ok");
      },
      async (proxy) => {
        const { HTTPS_PROXY: address = "" } = process.env;
        const own = { HTTP_PROXY: address, ALL_PROXY: address };
        await withEnv(own, async () => {
          const env = { AWAY_URL: "https://hooks.example/services/T0", HOOK_URL: receiver.url };
          const to = (name: string, url: string) => ({
            when: ["failed"],
            to: "webhook",
            name,
            url,
          });
          const rules = [to("away", "$AWAY_URL"), to("here", "$HOOK_URL")];
          await using world = await NoticeWorld.open({ rules, env });
          const results = await world.notices.test(null);
          assert.deepEqual(
            results.map(({ rule, outcome }) => [rule.name, outcome]),
            [
              ["away", "sent"],
              ["here", "sent"],
            ],
            JSON.stringify(results),
          );
          assert.doesNotMatch(JSON.stringify(results) + world.logged.join(""), /p%40ss|p@ss/);
        });
        assert.deepEqual(proxy.asked, ["hooks.example:443"]);
        assert.deepEqual(paths, ["/services/T0"]);
        assert.equal(receiver.received.length, 1);
      },
    );
  });
});

test("an answer that changes the protocol is an error, and a redirect to another host takes no credential along, whatever its header", async () => {
  const seen: string[][] = [];
  await using other = await listening(
    createPlain(({ headers }, response) => {
      seen.push(Object.keys(headers).sort());
      response.end("other");
    }),
  );
  await using target = await listening(
    createPlain(({ url, socket }, response) => {
      if (url === "/switch") {
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        );
      } else response.writeHead(307, { location: `http://127.0.0.1:${other.port}/` }).end();
    }),
  );
  const base = `http://127.0.0.1:${target.port}`;
  await assert.rejects(outbound(`${base}/switch`), ({ cause }: Error) =>
    /without an answer/.test(String(cause)),
  );
  const headers = { authorization: "a", "x-api-key": "b", cookie: "c", accept: "text/plain" };
  assert.equal(await (await outbound(`${base}/away`, { headers })).text(), "other");
  assert.deepEqual(seen, [["accept", "accept-encoding", "connection", "host"]]);
});

test("THREAT-9: redirects end, and one is refused where none is meant to be followed", async () => {
  let asked = 0;
  await using target = await listening(
    createPlain((_, response) => {
      asked += 1;
      response.writeHead(302, { location: "/" }).end();
    }),
  );
  const url = `http://127.0.0.1:${target.port}/`;
  const because = (words: RegExp) => (error: Error) => words.test(String(error.cause));
  await assert.rejects(outbound(url), because(/redirects without end/));
  assert.equal(asked, 6);
  await assert.rejects(outbound(url, { redirect: "error" }), because(/unexpected redirect/));
  assert.equal(asked, 7);
});

test("a body that is larger than its kind may be, or whose caller gives up, ends with its connection", async () => {
  const ended = new Set<string | undefined>();
  await using target = await listening(
    createPlain(({ url, socket }, response) => {
      socket.once("close", () => ended.add(url));
      response.write(url === "/large" ? Buffer.alloc(1024 * 1024 + 1) : "beginning");
    }),
  );
  const base = `http://127.0.0.1:${target.port}`;
  const large = await outbound(`${base}/large`);
  await assert.rejects(large.text(), /larger than 1 MiB/);
  const giveUp = new AbortController();
  const slow = await outbound(`${base}/slow`, { signal: giveUp.signal });
  const text = slow.text();
  giveUp.abort(new Error("given up"));
  await assert.rejects(text);
  await eventually("both connections have ended", async () => ended.size === 2);
});

test("S13: this machine is not asked through a proxy, also with NODE_USE_ENV_PROXY", async () => {
  await using target = await listening(createPlain((_, response) => response.end("here")));
  await using proxy = await connectProxy({});
  const env = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url, ALL_PROXY: proxy.url };
  await withEnv({ ...env, NODE_USE_ENV_PROXY: "1" }, async () => {
    const response = await outbound(`http://127.0.0.1:${target.port}/`);
    assert.equal(await response.text(), "here");
  });
  assert.deepEqual(proxy.asked, []);
});

test("S13: git gets the proxy in the names that curl reads, and never for this machine", () => {
  const address = { protocol: "https", address: "https://git.example/a/b.git" } as const;
  const env = { HTTP_PROXY: "http://p:1", HTTPS_PROXY: "http://p:2", NO_PROXY: "inner.example" };
  const given = remoteEnvironment(env, address as never, { credential: null, runId: "r" });
  assert.deepEqual(
    [given["http_proxy"], given["https_proxy"], given["no_proxy"], given["NO_PROXY"]],
    ["http://p:1", "http://p:2", ...Array(2).fill("inner.example,localhost,127.0.0.1,::1")],
  );
  const none = remoteEnvironment({}, address as never, { credential: null, runId: "r" });
  assert.equal(none["no_proxy"], undefined);
});

test("D2: an unknown certificate authority is named with NODE_EXTRA_CA_CERTS", {
  skip,
}, async () => {
  using other = certificate("localhost");
  if (other === null) return;
  const { key, cert } = other;
  await using site = await listening(createServer({ key, cert }, (_, answer) => answer.end()));
  const address = `https://localhost:${site.port}`;
  const named = /set NODE_EXTRA_CA_CERTS to the file of its certificate authority: self-signed/;
  await assert.rejects(outbound(address), (error: Error) => {
    assert.match(String(error.cause), named);
    return true;
  });
  const written = { base_url: `${address}/v1`, api_key: "none" };
  const config = openaiSection.settings(z.parse(openaiSection.schema, written));
  const { signal } = new AbortController();
  const models = askOpenai(config, { clock: new FakeClock(), signal, lookup: () => undefined });
  await assert.rejects(models, { hint: named.source.replace(/: self-signed$/, "") });
});
