import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { paths } from "../src/contract/paths.ts";
import { forgeKinds } from "../src/core/delivery/kinds.ts";
import { trackerKinds } from "../src/core/tracker/kinds.ts";

/** Packages that any file of the core may load; a room lists the additional packages that it may load. */
const base = [
  "src/core/answers.ts",
  "src/core/model",
  "src/core/text",
  "src/core/clock.ts",
  "src/core/outbound.ts",
  "src/core/package.ts",
  "zod",
  "node:",
];

/**
 * What each room may import in addition to itself. The longest matching prefix decides. A room imports only rooms below it;
 * the allowed imports are listed, so that a new dependency is a decision and not an accident.
 */
const rooms: Readonly<Record<string, readonly string[]>> = {
  bin: ["src/commands", "node:"],
  "src/commands": [
    "src/client",
    "src/contract",
    "src/core/answers.ts",
    "src/core/model",
    "src/core/text",
    "src/core/clock.ts",
    // The page and the terminal show the same lanes in the same words.
    "src/web/lanes.ts",
    "src/web/words.ts",
    "src/core/package.ts",
    "commander",
    "@inquirer/prompts",
    "chalk",
    "ora",
    "log-update",
    "zod",
    "node:",
  ],
  // Commands that work without a server: they build the core, or open its files.
  "src/commands/serve.ts": ["src/commands", "src/server", "src/core", "node:"],
  "src/commands/demo.ts": ["src/commands", "src/demo", "src/core", "node:"],
  "src/commands/serve-terminal.ts": ["src/commands", "src/core"],
  // Serves MCP: nothing else loads its package.
  "src/commands/mcp-server.ts": [
    "src/commands",
    "src/client",
    "src/contract",
    "src/core/model",
    "src/core/package.ts",
    "@modelcontextprotocol/server",
    "zod",
    "node:",
  ],
  "src/commands/worker-process.ts": ["src/commands", "src/core", "node:"],
  "src/commands/offline.ts": ["src/commands", "src/contract", "src/core", "zod", "node:"],
  "src/commands/offline-decisions.ts": ["src/commands", "src/core", "zod", "node:"],
  "src/commands/config-check.ts": ["src/commands", "src/core", "node:"],
  "src/commands/plan.ts": ["src/commands", "src/core", "node:"],
  "src/commands/run-alone.ts": ["src/commands", "src/core", "node:"],
  "src/commands/run-kinds.ts": ["src/core", "node:"],
  "src/commands/service-manager.ts": [
    "src/commands",
    "src/core/process",
    "src/core/model",
    "src/core/package.ts",
    "src/core/text",
    "node:",
  ],
  "src/commands/setup.ts": ["src/commands", "src/core", "node:"],
  "src/commands/setup-answers.ts": ["src/commands", "src/core", "@inquirer/prompts", "node:"],
  "src/commands/setup-facts.ts": ["src/commands", "src/core", "node:"],
  "src/commands/setup-provider.ts": ["src/commands", "src/core"],
  "src/commands/setup-file.ts": ["src/core/agent", "src/core/tracker", "node:"],
  "src/commands/examination.ts": ["src/commands", "src/server", "src/core", "node:"],
  "src/commands/backup.ts": [
    "src/commands",
    "src/core/store/backup.ts",
    "src/core/doctor/data-checks.ts",
    "node:",
  ],
  "src/commands/offline-pause.ts": ["src/commands", "src/core", "node:"],
  "src/commands/offline-secrets.ts": ["src/commands", "src/contract", "src/core", "node:"],
  "src/client": [
    "src/contract",
    "src/core/answers.ts",
    "src/core/model",
    "src/core/outbound.ts",
    "eventsource",
    "zod",
    "node:",
  ],
  // Runs in a browser: of the contract it uses the types alone.
  "src/web": ["src/contract", "preact", "htm", "zod"],
  "src/contract": ["src/core/model", "zod"],
  // The routes that trackers and sites post to; their tables define what they post.
  "src/contract/webhooks.ts": [
    "src/contract",
    "src/core/model",
    "src/core/delivery/github/webhook.ts",
    "src/core/tracker/tracker.ts",
    "src/core/tracker/kinds.ts",
    "zod",
  ],
  "src/server": [
    "src/contract",
    "src/core",
    // The page without its script says the same in the same words.
    "src/web/words.ts",
    "koa",
    "@koa/router",
    "koa2-swagger-ui",
    "prom-client",
    "rate-limiter-flexible",
    "zod",
    "node:",
  ],
  // The wiring may use every room of the core.
  "src/core": ["src/core", ...base],
  "src/core/model": ["zod"],
  "src/core/text": ["node:"],
  "src/core/clock.ts": ["node:"],
  "src/core/answers.ts": ["src/core/text", "node:"],
  "src/core/outbound.ts": ["src/core/answers.ts", "node:"],
  "src/core/package.ts": [],
  "src/core/store": [...base, "lowdb"],
  "src/core/config": [...base, "src/core/store", "chokidar", "lowdb", "yaml"],
  "src/core/events": [...base, "src/core/store"],
  "src/core/secrets": [...base, "src/core/store", "src/core/config", "lowdb"],
  "src/core/process": [...base, "src/core/config", "execa"],
  "src/core/egress": [...base, "src/core/process"],
  "src/core/repository": [
    ...base,
    "src/core/config",
    "src/core/process",
    "src/core/store/durable.ts",
  ],
  "src/core/delivery": [
    ...base,
    "src/core/agent",
    "src/core/attempt",
    "src/core/config",
    "src/core/events",
    "src/core/orchestrator",
    "src/core/process",
    "src/core/prompt",
    "src/core/repository",
    "src/core/store",
    "src/core/tracker",
    "src/core/github",
    "src/core/workspace",
  ],
  "src/core/github": [...base, "src/core/config", "@octokit/auth-app", "@octokit/core"],
  "src/core/agent": [
    ...base,
    "src/core/config",
    "src/core/egress",
    "src/core/process",
    "openai",
    "ws",
  ],
  "src/core/agent/acp": [
    ...base,
    "src/core/agent",
    "src/core/config",
    "src/core/egress",
    "src/core/process",
    "@agentclientprotocol/sdk",
  ],
  "src/core/tracker": [
    ...base,
    "src/core/agent",
    "src/core/config",
    "src/core/events",
    "src/core/github",
    "src/core/process",
    "src/core/store",
    "@linear/sdk",
    "yaml",
  ],
  "src/core/orchestrator": [
    ...base,
    "src/core/agent",
    "src/core/config",
    "src/core/events",
    "src/core/store",
    "src/core/tracker",
  ],
  "src/core/journal": [...base, "src/core/config", "src/core/orchestrator", "src/core/store"],
  "src/core/notify": [
    ...base,
    "src/core/config",
    "src/core/events",
    "src/core/process",
    "src/core/store",
  ],
  "src/core/prompt": [
    ...base,
    "src/core/config",
    "src/core/orchestrator",
    "src/core/store",
    "liquidjs",
  ],
  "src/core/workspace": [
    ...base,
    "src/core/config",
    "src/core/events",
    "src/core/orchestrator",
    "src/core/process",
    "src/core/repository",
    "src/core/store",
  ],
  "src/core/fleet": [
    "lowdb",
    "src/core/package.ts",
    "src/core/secrets",
    ...base,
    "src/core/agent",
    "src/core/config",
    "src/core/process",
    "src/core/repository",
    "src/core/store",
    "src/core/workspace",
  ],
  "src/core/ssh": [
    "lowdb",
    ...base,
    "src/core/agent",
    "src/core/config",
    "src/core/fleet",
    "src/core/process",
    "src/core/repository",
    "src/core/store",
    "src/core/workspace",
  ],
  "src/core/attempt": [
    ...base,
    "src/core/agent",
    "src/core/config",
    "src/core/events",
    "src/core/orchestrator",
    "src/core/process",
    "src/core/prompt",
    "src/core/repository",
    "src/core/store",
    "src/core/tracker",
    "src/core/workspace",
  ],
  // A separate program: it acts as an agent and shares only the protocol with the server.
  "src/demo": ["node:", "src/core/tracker", "src/core/model", "src/core/package.ts"],
  // The repository that the demo's server finds, created with the one git module.
  "src/demo/sample.ts": [
    "src/demo",
    "src/core/repository/git.ts",
    "src/core/model",
    "src/core/package.ts",
    "node:",
  ],
};

/**
 * Pure modules: no clock, no IO, no randomness, even if their room allows it. What a row loads when it is chosen does not count
 * as an import of the table.
 */
const pure = [
  ...globSync("src/core/orchestrator/*.ts").filter(
    (file) => !/\/(orchestrator|operations)\.ts$/.test(file),
  ),
  ...globSync("src/core/model/*.ts"),
  ...globSync("src/contract/*.ts"),
  "src/core/text/text.ts",
  "src/core/text/nearest.ts",
  "src/core/github/settings.ts",
  "src/core/delivery/github/webhook.ts",
  "src/core/process/environment.ts",
  "src/core/agent/counts.ts",
  "src/core/agent/event-makers.ts",
  "src/core/agent/limits.ts",
  "src/core/agent/refusals.ts",
  "src/core/agent/reset-time.ts",
  "src/core/agent/acp/updates.ts",
  "src/core/agent/acp/usage.ts",
  "src/core/agent/command/output.ts",
  "src/core/agent/command/reader.ts",
  "src/core/agent/command/readers.ts",
  "src/core/agent/command/claude.ts",
  "src/core/agent/claude/permissions.ts",
  "src/core/agent/claude/protocol.ts",
  "src/core/agent/claude/turn.ts",
  "src/core/agent/claude/updates.ts",
  "src/core/agent/codex/protocol.ts",
  "src/core/agent/codex/approvals.ts",
  "src/core/config/config.ts",
  "src/core/config/agents.ts",
  "src/core/config/fleet.ts",
  "src/core/config/worker.ts",
  "src/core/config/host.ts",
  "src/core/config/hours.ts",
  "src/core/config/delivery.ts",
  "src/core/config/git.ts",
  "src/core/config/notify.ts",
  "src/core/config/finding.ts",
  "src/core/config/foreign-keys.ts",
  "src/core/config/unknown-keys.ts",
  "src/core/config/schema.ts",
  "src/core/config/sections.ts",
  "src/core/config/workspace.ts",
  "src/core/config/layers.ts",
  "src/core/config/named-agents.ts",
  "src/core/config/resolve.ts",
  "src/core/config/json-schema.ts",
  "src/core/tracker/normalize.ts",
  "src/core/tracker/kinds.ts",
  "src/core/tracker/linear/deliveries.ts",
  "src/core/tracker/linear/belonging.ts",
  "src/core/tracker/blockers.ts",
  "src/core/tracker/linear/normalize.ts",
  "src/core/repository/routing.ts",
  "src/core/repository/key.ts",
];

/**
 * Files that may import a folder whose own files import theirs: a table of kinds names each kind, and a kind uses what
 * stands next to the table. Every other pair of folders that import each other is a circle.
 */
const tables = [
  "src/server/app.ts",
  "src/core/agent/kinds.ts",
  "src/core/delivery/kinds.ts",
  "src/core/tracker/kinds.ts",
];

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
  readonly dynamic: boolean;
}

const sources = globSync("{bin,src}/**/*.{ts,js}");
const imports = new Map(sources.map((file) => [file, importsOf(file)]));

test("each room imports only what it may, statically and dynamically", () => {
  const broken = sources.flatMap((file) =>
    targetsOf(file)
      .filter(({ target }) => !allowed(file, target))
      .map(({ target }) => `${file} imports ${target}`),
  );
  assert.deepEqual(broken, []);
  assert.ok(sources.length > 60, "the sources were found");
});

test("no module is imported only for what it does: build/code.js leaves such imports out", () => {
  const bare = sources.filter((file) => /^import ["']/m.test(readFileSync(file, "utf8")));
  assert.deepEqual(bare, []);
});

test("the decisions, the model and the contract are pure", () => {
  const impure = /\bDate\.now|new Date\(\)|Math\.random|setTimeout|setInterval|process\.(env|cwd)/;
  for (const file of pure) {
    const outside = targetsOf(file)
      .filter(({ target, typeOnly, dynamic }) => {
        const isLoadedByRow = dynamic && tables.includes(file);
        return !typeOnly && !isLoadedByRow && !isPure(target);
      })
      .map(({ target }) => target);
    assert.deepEqual(outside, [], file);
    assert.doesNotMatch(readFileSync(file, "utf8"), impure, file);
  }
});

test("no file imports itself in a circle, type imports and dynamic ones counted", () => {
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): string[] => {
    const at = trail.indexOf(file);
    if (at >= 0) return [[...trail.slice(at), file].join(" -> ")];
    if (done.has(file)) return [];
    const found = targetsOf(file).flatMap(({ target }) => visit(target, [...trail, file]));
    done.add(file);
    return found;
  };
  assert.deepEqual(
    sources.flatMap((file) => visit(file, [])),
    [],
  );
});

test("no two folders import each other, type imports counted", () => {
  const arrows = new Map<string, string[]>();
  for (const file of sources) {
    for (const { target } of targetsOf(file)) {
      const [from, to] = [dirname(file), dirname(target)];
      if (!target.startsWith("src/") || from === to || isTable(file, to)) continue;
      arrows.set(`${from} -> ${to}`, [...(arrows.get(`${from} -> ${to}`) ?? []), basename(file)]);
    }
  }
  const both = [...arrows].filter(([arrow]) => {
    const [from = "", to = ""] = arrow.split(" -> ");
    return from < to && arrows.has(`${to} -> ${from}`);
  });
  assert.deepEqual(both, []);
});

test("the agents' rooms do not import the scheduler", () => {
  const broken = sources
    .filter((file) => within(file, "src/core/agent"))
    .filter((file) =>
      targetsOf(file).some(({ target }) => within(target, "src/core/orchestrator")),
    );
  assert.deepEqual(broken, []);
});

test("the commands' start path loads no heavy module", () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const walk = (file: string) => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const { target, typeOnly, dynamic } of targetsOf(file)) {
      if (typeOnly || dynamic) continue;
      if (target.startsWith("src/")) walk(target);
      else packages.add(target);
    }
  };
  walk("src/commands/main.ts");
  const heavy = [
    "commander",
    "zod",
    "chalk",
    "ora",
    "execa",
    "eventsource",
    "@inquirer/prompts",
    "node:http",
  ];
  assert.deepEqual(
    heavy.filter((name) => packages.has(name)),
    [],
  );
});

test("programs are started by the process room alone, git by one file", () => {
  const starting = sources.filter((file) =>
    /["'`](?:node:)?(?:child_process|cluster|execa)["'`]/.test(readFileSync(file, "utf8")),
  );
  assert.deepEqual(starting.filter((file) => !within(file, "src/core/process")).sort(), [
    // Restarts itself on the Node that the project needs.
    "bin/symphony.js",
    // $EDITOR, which takes over the terminal of the command line.
    "src/commands/input.ts",
    // The demo's agent, a separate program.
    "src/demo/steps.ts",
  ]);
  const ofGit = sources.filter((file) => /argv: \["git"/.test(readFileSync(file, "utf8")));
  assert.deepEqual(ofGit, ["src/core/repository/git.ts"]);
});

test("what comes from outside is asked for in one place, and read as a whole in one place", () => {
  const code = new Map(
    sources
      .filter((file) => !within(file, "src/web") && !within(file, "src/demo"))
      .map((file) => [file, readFileSync(file, "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, "")]),
  );
  const having = (pattern: RegExp) =>
    [...code].filter(([, text]) => pattern.test(text)).map(([file]) => file);
  // `fetch` itself has no limit; `outbound` has one for each kind of answer.
  assert.deepEqual(having(/(?<![.#\w])fetch\((?!ids|order)/), []);
  const requests =
    /\bhttps?\.(?:get|request)\(|getBuiltinModule\(\s*[^)]*"node:https?"|import \{[^}]*\brequest\b[^}]*\} from "node:https?"/;
  assert.deepEqual(having(requests).sort(), [
    // A client of the API: its bodies are read by `wholeText`, or passed on.
    "src/client/client.ts",
    // These pass bodies on and keep none.
    "src/core/egress/egress.ts",
    "src/core/egress/hosts.ts",
    "src/core/egress/provider.ts",
    "src/core/outbound.ts",
    // The server's own side.
    "src/server/listen.ts",
  ]);
  const whole =
    /(?:response|answer|reply|incoming|tapped|\bres)\.(?:text|json|arrayBuffer|blob|bytes|formData|toArray)\(/i;
  assert.deepEqual(having(whole), []);
  const pieces =
    /for await \([^)]*\bof \(?(?:await )?\w*(?:response|answer|reply|incoming|body)\b/i;
  assert.deepEqual(having(pieces).sort(), [
    // Passes a stream on to the terminal.
    "src/commands/api.ts",
    "src/core/answers.ts",
  ]);
});

test("one tracker is named in its folder, its row and its route, and nowhere else", () => {
  const folder = "src/core/tracker/linear";
  const named = sources
    .filter((file) => !within(file, folder))
    .filter((file) => /linear/i.test(`${file}\n${readFileSync(file, "utf8")}`));
  assert.deepEqual(named.sort(), ["src/contract/paths.ts", "src/core/tracker/kinds.ts"]);
  const lines = readFileSync("src/contract/paths.ts", "utf8").split("\n");
  assert.deepEqual(
    lines.filter((line) => /linear/i.test(line)).map((line) => line.trim()),
    ['linear: { method: "POST", path: "/webhooks/linear" },'],
  );
});

test("each tracker and site that posts webhooks has a route of its name, and nothing else has one", () => {
  const posting = [...trackerKinds, ...forgeKinds]
    .filter(({ webhook }) => webhook !== null)
    .map(({ kind }) => kind);
  const routes = Object.entries(paths.webhooks).map(([kind, { path }]) => [kind, path]);
  assert.deepEqual(
    routes,
    posting.map((kind) => [kind, `/webhooks/${kind}`]),
  );
});

test("reading a configuration loads no module of an agent or a tracker except its settings", () => {
  const loaded = new Set<string>();
  const walk = (file: string) => {
    if (loaded.has(file)) return;
    loaded.add(file);
    for (const { target, typeOnly, dynamic } of targetsOf(file)) {
      if (!typeOnly && !dynamic && target.startsWith("src/")) walk(target);
    }
  };
  walk("src/core/kinds.ts");
  const ofKinds = [...loaded].filter((file) => /^src\/core\/(agent|tracker)\/[^/]+\//.test(file));
  assert.deepEqual(ofKinds.sort(), [
    "src/core/agent/acp/settings.ts",
    "src/core/agent/claude/settings.ts",
    "src/core/agent/codex/settings.ts",
    "src/core/agent/command/settings.ts",
    "src/core/agent/openai/settings.ts",
    "src/core/tracker/linear/deliveries.ts",
  ]);
});

/** The wiring in the root of the core uses every room; the rooms use the clock in that folder. */
function isTable(file: string, to: string): boolean {
  return tables.includes(file) || (dirname(file) === "src/core" && within(to, "src/core"));
}

function isPure(target: string): boolean {
  return pure.includes(target) || target === "zod" || target === "node:crypto";
}

function allowed(file: string, target: string): boolean {
  const room = Object.keys(rooms)
    .filter((prefix) => within(file, prefix))
    .sort((a, b) => b.length - a.length)[0];
  assert.ok(room, `${file} is in no room`);
  return [room, ...(rooms[room] ?? [])].some((prefix) => within(target, prefix));
}

function within(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(prefix.endsWith(":") ? prefix : `${prefix}/`);
}

function targetsOf(file: string): readonly Import[] {
  return imports.get(file) ?? [];
}

function importsOf(file: string): readonly Import[] {
  const text = readFileSync(file, "utf8");
  const statics = [
    ...text.matchAll(/^(?:import|export)\b(?<what>[^;"]*?)\bfrom\s+"(?<name>[^"]+)";$/gm),
    ...text.matchAll(/^import(?<what>\s+)"(?<name>[^"]+)";$/gm),
  ];
  const dynamics = text.matchAll(/\bimport\("(?<name>[^"]+)"\)/g);
  const resolve = (name: string) => (name.startsWith(".") ? join(dirname(file), name) : name);
  return [
    ...statics.map(({ groups }) => ({
      target: resolve(groups?.["name"] ?? ""),
      typeOnly: /^\s*type\b/.test(groups?.["what"] ?? ""),
      dynamic: false,
    })),
    ...[...dynamics].map(({ groups }) => ({
      target: resolve(groups?.["name"] ?? ""),
      typeOnly: false,
      dynamic: true,
    })),
  ];
}

/** The main file of each folder. */
const mainFiles: readonly string[] = [
  "src/client/client.ts",
  "src/commands/main.ts",
  "src/contract/api.ts",
  "src/core/agent/acp/session.ts",
  "src/core/agent/agent.ts",
  "src/core/agent/claude/session.ts",
  "src/core/agent/codex/session.ts",
  "src/core/agent/codex/shared/daemons.ts",
  "src/core/agent/command/session.ts",
  "src/core/agent/guard/workspace.ts",
  "src/core/agent/openai/session.ts",
  "src/core/attempt/attempts.ts",
  "src/core/config/config.ts",
  "src/core/delivery/forge.ts",
  "src/core/delivery/github/forge.ts",
  "src/core/doctor/doctor.ts",
  "src/core/egress/egress.ts",
  "src/core/events/bus.ts",
  "src/core/fleet/fleet.ts",
  "src/core/github/client.ts",
  "src/core/journal/recorder.ts",
  "src/core/model/issue.ts",
  "src/core/notify/notices.ts",
  "src/core/orchestrator/orchestrator.ts",
  "src/core/process/run.ts",
  "src/core/prompt/prompt.ts",
  "src/core/repository/git.ts",
  "src/core/secrets/secrets.ts",
  "src/core/ssh/hosts.ts",
  "src/core/start.ts",
  "src/core/store/store.ts",
  "src/core/text/text.ts",
  "src/core/tracker/command/tracker.ts",
  "src/core/tracker/github/tracker.ts",
  "src/core/tracker/linear/tracker.ts",
  "src/core/tracker/local/tracker.ts",
  "src/core/tracker/tracker.ts",
  "src/core/workspace/workspaces.ts",
  "src/demo/agent.ts",
  "src/server/app.ts",
  "src/server/handlers/system.ts",
  "src/web/main.ts",
];

test("the main file of each folder opens with one sentence that says what the folder is for", () => {
  const folders = new Set(sources.filter((file) => file.startsWith("src/")).map(dirname));
  assert.deepEqual(mainFiles.map(dirname).sort(), [...folders].sort());
  for (const file of mainFiles) {
    assert.match(readFileSync(file, "utf8"), /^\/\/ .{20,100}\.\n\n/, file);
  }
});

test("THREAT-24: no package that an installation brings runs code of its own then, nor does this one", () => {
  const lock: { packages: Record<string, { dev?: boolean; hasInstallScript?: boolean }> } =
    JSON.parse(readFileSync("package-lock.json", "utf8"));
  const own = JSON.parse(readFileSync("package.json", "utf8")).scripts as Record<string, string>;
  const running = Object.entries(lock.packages).filter(
    ([path, { dev, hasInstallScript }]) => path !== "" && hasInstallScript && dev !== true,
  );
  assert.deepEqual(running, []);
  assert.deepEqual(
    Object.keys(own).filter((name) => /^(pre|post)?install$|^prepare$/.test(name)),
    [],
  );
});
