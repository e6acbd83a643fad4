import "../support/fakes/darwin.ts";

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { boxPrefix, profileOf } from "../../src/core/process/seatbelt.ts";
import { macPath } from "../support/makers/mac-path.ts";

/*
 * The sandbox of macOS on a double of its `sandbox-exec`, which holds the profile by bubblewrap: nothing here ran on
 * macOS. The module `darwin` must be loaded before what asks for the platform.
 */
const { probeSandbox, sandboxLine, canNest } = await import("../../src/core/process/sandbox.ts");
const { isInside } = await import("../../src/core/process/view.ts");
type View = Parameters<typeof profileOf>[0];

const doubles = mkdtempSync(join(tmpdir(), "symphony-mac-"));
process.env["PATH"] = macPath(doubles);
process.env["TMPDIR"] = join(doubles, "tmp");
mkdirSync(process.env["TMPDIR"]);
after(() => rmSync(doubles, { recursive: true, force: true }));

interface Place {
  readonly root: string;
  readonly home: string;
  readonly workspace: string;
  view(more?: Partial<View>): View;
  said(line: string, more?: Partial<View>): Promise<string>;
}

function placed(work: (place: Place) => Promise<void>): () => Promise<void> {
  return async () => {
    const root = realpathSync(mkdtempSync(join(tmpdir(), "symphony-seat-")));
    const [home, workspace] = [join(root, "Users/me"), join(root, 'ws/it\'s "one" $(touch x)')];
    for (const dir of [home, workspace]) mkdirSync(dir, { recursive: true });
    const view = (more: Partial<View> = {}): View => ({
      ...{ level: "safe", workspace, cwd: workspace, homes: [home], hidden: [] },
      ...{ shown: [], emptied: [], ...more },
    });
    const place: Place = {
      ...{ root, home, workspace, view },
      async said(line, more) {
        const confined = await sandboxLine(line, view(more));
        return execFileSync("bash", ["-c", `${confined} 2>&1`], { encoding: "utf8" });
      },
    };
    try {
      await work(place);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  };
}

function written(path: string, text = "text\n"): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

const readable = (path: string) => ({ from: path, to: path, as: "readable" }) as const;
const boxes = () => readdirSync(tmpdir()).filter((name) => name.startsWith(boxPrefix));

describe("THREAT-1: on macOS, Seatbelt", () => {
  test("is tried out as bubblewrap is, and no sandbox works inside of it", async () => {
    await probeSandbox("safe", process.env);
    await probeSandbox("networked", process.env);
    assert.equal(await canNest(process.env), null);
    await assert.rejects(probeSandbox("safe", { PATH: "/usr/bin:/bin" }), {
      code: "agent_unavailable",
      message: /sandbox-exec does not work here/,
    });
  });

  test(
    "shows the workspace and a new home, and nothing else of the machine",
    placed(async ({ root, home, workspace, said }) => {
      written(join(home, ".ssh/id"));
      written(join(root, "diary"));
      const before = boxes();
      const line = `cat '${home}/.ssh/id' '${root}/diary' ~/.ssh/id; touch '${root}/new' /usr/new; ls -A ~ | wc -l; touch ~/own "$TMPDIR/own" made && echo "made in $PWD"; [ "$HOME" = '${home}' ] || echo another home`;
      const output = await said(line);
      assert.doesNotMatch(output, /^text$/m);
      assert.match(
        output,
        new RegExp(`^0\\nmade in ${RegExp.escape(workspace)}\\nanother home$`, "m"),
      );
      assert.deepEqual(readdirSync(workspace), ["made"]);
      assert.equal(existsSync(join(root, "new")), false);
      assert.deepEqual(boxes(), before, "the home is removed with the program");
    }),
  );

  test(
    "shows what is named of the home at its place and in the new home, without the logins in it",
    placed(async ({ home, said }) => {
      const login = written(join(home, ".tool/keys/auth.json"));
      written(join(home, ".tool/bin/run"));
      written(join(home, ".other"));
      const own = join(home, ".tool");
      const more = { shown: [{ ...readable(own), as: "writable" as const }], hidden: [login] };
      const output = await said(
        `cat ~/.tool/bin/run '${own}/bin/run'; cat ~/.tool/keys/auth.json; mv ~/.tool/keys/auth.json ~/.tool/x; mv '${own}' ~/tool; touch ~/.tool/made; ls -A ~ '${home}'`,
        more,
      );
      assert.equal(output.match(/^text$/gm)?.length, 2);
      assert.doesNotMatch(output, /\.other/);
      assert.deepEqual(readdirSync(own).toSorted(), ["bin", "keys", "made"]);
      const profile = await profileOf({ ...placeView(home), ...more });
      assert.match(profile, new RegExp(`deny file-write-unlink .*\\(literal "${own}/keys"\\)`));
    }),
  );

  test(
    "covers a home inside of what is shown, and a later, inner path opens again",
    placed(async ({ root, home, said }) => {
      const note = written(join(home, "notes/one"));
      const other = written(join(root, "Users/other/file"));
      const users = join(root, "Users");
      const output = await said(`cat '${other}' '${note}' '${home}/notes/one'; ls '${home}'`, {
        shown: [readable(users), readable(join(home, "notes"))],
      });
      assert.equal(output.match(/^text$/gm)?.length, 3);
      const closed = await said(`cat '${note}'; true`, { shown: [readable(users)] });
      assert.doesNotMatch(closed, /^text$/m);
    }),
  );

  test(
    "keeps the guarded names of a workspace as they are, however they are spelled, and empties those of the agent",
    placed(async ({ root, workspace, said, view }) => {
      written(join(workspace, ".git/config"));
      written(join(workspace, ".codex/config.toml"));
      symlinkSync(root, join(workspace, ".agents"));
      const output = await said(
        "echo x >> .git/config && echo open; mv .git .git2 && echo open; cat .codex/config.toml; echo over",
        { emptied: [".codex"] },
      );
      assert.doesNotMatch(output, /^(open|text)$/m);
      const profile = await profileOf(view());
      assert.match(
        profile,
        /\(deny file-write\* \(regex "\^.*\\\\\.\[gG\]\[iI\]\[tT\]\(\/\|\$\)"\)\)/,
      );
      assert.doesNotMatch(profile, /aA\]\[gG\]\[eE\]\[nN\]\[tT\]\[sS\]/, "a link has no rule");
    }),
  );

  test(
    "opens the network by level: none, one port of the machine, or all of it without its services",
    placed(async ({ view, said, root }) => {
      const ip = /\((?:remote|local) ip "([^"]*)"\)/g;
      const opened = async (more: Partial<View>) =>
        [...(await profileOf(view(more))).matchAll(ip)].map(([, at]) => at);
      assert.deepEqual(await opened({}), []);
      assert.deepEqual(await opened({ port: 4711 }), ["localhost:4711"]);
      assert.deepEqual(await opened({ level: "networked", port: 4711 }), ["localhost:4711"]);
      assert.deepEqual(await opened({ level: "networked" }), ["*:*", "*:*"]);
      const networked = await profileOf(view({ level: "networked" }));
      assert.doesNotMatch(networked, /SecurityServer|securityd|keychain|launchservices|cfprefs/i);
      assert.doesNotMatch(networked, /\(remote unix-socket\)|docker/);
      const service = join(root, "service");
      const bound = createServer().listen(service).unref();
      await once(bound, "listening");
      const sockets = async (from: string) => {
        const shown = [{ from, to: from, as: "readable" as const }];
        const rules = (await profileOf(view({ shown }))).matchAll(
          /allow.*unix-socket \((.*)\)\)\)/g,
        );
        return [...rules].map(([, rule]) => rule).filter((rule) => rule?.includes(root));
      };
      const own = (rules: readonly unknown[]) => rules.filter((rule) => rule !== workspaceRule);
      const workspaceRule = (await sockets("/usr"))[0];
      assert.deepEqual(own(await sockets(root)), []);
      assert.deepEqual(own(await sockets(service)), [`literal "${service}"`]);
      bound.close();
      const server = createServer((socket) => socket.end("hello\n"));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as { port: number };
      server.unref();
      const ask = async (more: Partial<View>) => {
        const line = await sandboxLine(`cat < /dev/tcp/127.0.0.1/${port}`, view(more));
        return new Promise<string>((done) =>
          execFile("bash", ["-c", line], (_, stdout) => done(stdout)),
        );
      };
      assert.equal(await ask({ port }), "hello\n");
      assert.equal(await ask({}), "");
      assert.match(await said(`cat '${root}/none' || echo refused`), /refused/);
    }),
  );
});

test("THREAT-1, THREAT-2: the ways out of a workspace are closed for each kind of agent, on the doubles of macOS", async () => {
  const [darwin, file] = ["../support/fakes/darwin.ts", "hostile-probes.test.ts"].map(
    (name) => new URL(name, import.meta.url).pathname,
  ) as [string, string];
  const only = ["at level safe$"].map((name) => `--test-name-pattern=${name}`);
  const args = ["--import", darwin, "--test", "--test-isolation=none", ...only, file];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { stdout, error } = await new Promise<{ stdout: string; error: Error | null }>((done) =>
    execFile(process.execPath, args, { env }, (error, stdout) => done({ stdout, error })),
  );
  assert.equal(error, null, stdout);
  assert.match(stdout, /^ℹ pass 7$/m);
});

function placeView(home: string): View {
  const workspace = join(dirname(home), "none");
  return {
    ...{ level: "safe", workspace, cwd: workspace, homes: [home] },
    ...{ hidden: [], shown: [], emptied: [] },
  };
}

test("paths that a volume of macOS takes for the same are the same where paths are guarded", () => {
  assert.equal(isInside("/Users/Me/.SSH/id", "/users/me/.ssh"), true);
  assert.equal(isInside("/Users/me/Cafe\u0301/x", "/Users/me/Caf\u00e9"), true);
  assert.equal(isInside("/Users/me2", "/Users/me"), false);
  assert.equal(isInside("/System/Library", "/"), true);
});
