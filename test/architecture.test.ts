import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

/** What each floor may import. The longest matching prefix decides; the floor itself is implied. */
const floors: Readonly<Record<string, readonly string[]>> = {
  bin: ["src/commands", "node:"],
  "src/commands": [
    "src/client",
    "src/contract",
    "src/core/model",
    "commander",
    "@inquirer/prompts",
    "chalk",
    "ora",
    "log-update",
    "node:",
  ],
  // The composition roots: they build the daemon, or the embedded tracker without one.
  "src/commands/serve.ts": ["src/commands", "src/server", "src/core", "node:"],
  "src/commands/once.ts": ["src/commands", "src/core"],
  "src/commands/dry-run.ts": ["src/commands", "src/core"],
  "src/commands/webhook-secret.ts": ["src/core"],
  "src/commands/demo.ts": ["src/commands", "src/demo", "src/core", "node:"],
  "src/commands/offline-secrets.ts": ["src/commands", "src/core", "node:"],
  "src/commands/offline-diff.ts": ["src/commands", "src/contract", "src/core", "node:"],
  "src/commands/offline.ts": ["src/commands", "src/contract", "src/core", "node:"],
  // Checks the files of the log themselves.
  "src/commands/audit-verify.ts": ["src/commands", "src/core"],
  "src/client": ["src/contract", "src/core/model", "eventsource", "node:"],
  "src/contract": ["src/core/model", "zod"],
  "src/server": [
    "src/contract",
    "src/core",
    "koa",
    "@koa/router",
    "koa2-swagger-ui",
    "prom-client",
    "rate-limiter-flexible",
    "zod",
    "node:",
  ],
  "src/core": [
    "@linear/sdk",
    "chokidar",
    "execa",
    "liquidjs",
    "lowdb",
    "ws",
    "openai",
    "yaml",
    "zod",
    "node:",
  ],
  "src/core/agent/acp": ["src/core", "@agentclientprotocol/sdk", "node:"],
  "src/core/model": ["zod"],
  // A program of its own: it stands for an agent and shares nothing with the server but the protocol.
  "src/demo": ["execa", "node:", "src/core/tracker", "src/core/model"],
};

/** Pure modules: no clock, no IO, no randomness, whatever their floor allows. */
const pure = [
  ...globSync("src/core/orchestrator/*.ts").filter(
    (file) => !/\/(orchestrator|operations|transitions)\.ts$/.test(file),
  ),
  ...globSync("src/core/model/*.ts"),
  ...globSync("src/contract/*.ts"),
  "src/core/one-line.ts",
  "src/core/agent/display-text.ts",
  "src/core/agent/environment.ts",
  "src/core/agent/gemini-wait.ts",
  "src/core/agent/json-value.ts",
  "src/core/agent/limits.ts",
  "src/core/agent/reset-time.ts",
  "src/core/agent/event-makers.ts",
  "src/core/agent/shell-quoted.ts",
  "src/core/agent/acp/choices.ts",
  "src/core/agent/acp/permission.ts",
  "src/core/agent/acp/tool-call.ts",
  "src/core/agent/acp/updates.ts",
  "src/core/agent/command/claude.ts",
  "src/core/agent/command/codex-exec.ts",
  "src/core/agent/command/gemini.ts",
  "src/core/agent/command/output.ts",
  "src/core/agent/command/own-lines.ts",
  "src/core/agent/command/tool-calls.ts",
  "src/core/agent/codex/usage.ts",
  "src/core/agent/codex/protocol.ts",
  "src/core/agent/codex/approvals.ts",
  "src/core/agent/codex/operator-config.ts",
  "src/core/agent/codex/home-config.ts",
  "src/core/config/level.ts",
  "src/core/config/schema.ts",
  "src/core/config/effective.ts",
  "src/core/config/openai-section.ts",
  "src/core/config/fields.ts",
  "src/core/config/agent-sections.ts",
  "src/core/config/acp-section.ts",
  "src/core/config/agent-command.ts",
  "src/core/config/command-section.ts",
  "src/core/config/git-address.ts",
  "src/core/config/git-section.ts",
  "src/core/config/layers.ts",
  "src/core/config/env-layer.ts",
  "src/core/config/unknown-keys.ts",
  "src/core/config/resolve.ts",
  "src/core/config/overlay.ts",
  "src/core/config/json-schema.ts",
  "src/core/tracker/normalize.ts",
  "src/core/tracker/linear/normalize.ts",
  "src/core/workspace/branch-name.ts",
  "src/core/workspace/git-routing.ts",
  "src/core/workspace/key.ts",
];

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
}

const sources = globSync("{bin,src}/**/*.{ts,js}");

test("each floor imports only what it may, statically and dynamically", () => {
  const broken = sources.flatMap((file) =>
    importsOf(file)
      .filter(({ target, typeOnly }) => !allowed(file, target) && !(typeOnly && target === "zod"))
      .map(({ target }) => `${file} imports ${target}`),
  );
  assert.deepEqual(broken, []);
  assert.ok(sources.length > 60, "the sources were found");
});

test("decisions, vocabulary and contract are pure", () => {
  const impure = /\bDate\.now|new Date\(\)|Math\.random|setTimeout|setInterval|process\.(env|cwd)/;
  for (const file of pure) {
    const outside = importsOf(file)
      .filter(({ target, typeOnly }) => !typeOnly && !isPure(target))
      .map(({ target }) => target);
    assert.deepEqual(outside, [], file);
    assert.doesNotMatch(readFileSync(file, "utf8"), impure, file);
  }
});

test("no file imports itself in a circle", () => {
  const edges = new Map(
    sources.map((file) => [
      file,
      importsOf(file).flatMap(({ target, typeOnly }) => (typeOnly ? [] : [target])),
    ]),
  );
  const visit = (file: string, trail: readonly string[]): string[] => {
    const at = trail.indexOf(file);
    if (at >= 0) return [[...trail.slice(at), file].join(" -> ")];
    if (done.has(file)) return [];
    const found = (edges.get(file) ?? []).flatMap((next) => visit(next, [...trail, file]));
    done.add(file);
    return found;
  };
  const done = new Set<string>();
  assert.deepEqual(
    sources.flatMap((file) => visit(file, [])),
    [],
  );
});

test("the commands' start path loads nothing heavy", () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const walk = (file: string) => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const { target, typeOnly, dynamic } of importsOf(file)) {
      if (typeOnly || dynamic) continue;
      if (target.startsWith("src/")) walk(target);
      else packages.add(target);
    }
  };
  walk("src/commands/main.ts");
  const heavy = ["zod", "chalk", "ora", "execa", "eventsource", "@inquirer/prompts", "node:http"];
  assert.deepEqual(
    heavy.filter((name) => packages.has(name)),
    [],
  );
});

function isPure(target: string): boolean {
  return pure.includes(target) || target === "zod" || target === "node:crypto";
}

function allowed(file: string, target: string): boolean {
  const floor = Object.keys(floors)
    .filter((prefix) => within(file, prefix))
    .sort((a, b) => b.length - a.length)[0];
  assert.ok(floor, `${file} is on no floor`);
  return [floor, ...(floors[floor] ?? [])].some((prefix) => within(target, prefix));
}

function within(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(prefix.endsWith(":") ? prefix : `${prefix}/`);
}

function importsOf(file: string): readonly (Import & { readonly dynamic: boolean })[] {
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
