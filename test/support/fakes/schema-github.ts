import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { systemClock } from "../../../src/core/clock.ts";
import type { Forge, PullRequest } from "../../../src/core/delivery/forge.ts";
import { githubForge } from "../../../src/core/delivery/github/forge.ts";
import { githubOf } from "../../../src/core/github/settings.ts";
import { ForgeError } from "../../../src/core/model/forge-error.ts";
import { equipment } from "./equipment.ts";

type Values = Readonly<Record<string, unknown>>;

/** The part that the tests use of the server that checks every answer against GitHub's own description. */
export interface SchemaGithub {
  readonly api: string;
  readonly web: string;
  readonly requests: readonly {
    readonly operation: string;
    readonly method: string;
    readonly path: string;
    readonly status: number;
    readonly as?: string;
  }[];
  readonly totals: {
    readonly schemaErrors: Readonly<Record<string, number>>;
    readonly unmodelled: Readonly<Record<string, number>>;
    readonly notModified: number;
    readonly byOperation: Readonly<Record<string, number>>;
  };
  readonly faults: {
    add(fault: Values): void;
    /** Those that have not been used up. */
    readonly list: readonly { readonly kind: string; readonly matched: number }[];
  };
  readonly world: {
    repo(
      owner: string,
      name: string,
    ): {
      readonly dir: string;
      readonly runs: object[];
      readonly issues: Map<number, { readonly events: readonly Values[] }>;
    };
    /** Where the app's events go, those of projects too. */
    readonly app: { hook: Values | null };
    option(name: string): { name: string };
    readonly projects: {
      title: string;
      readonly node_id: string;
      readonly items: {
        archived: boolean;
        readonly node_id: string;
        readonly content: object | null;
      }[];
      readonly fields: {
        name: string;
        readonly node_id: string;
        readonly options?: { name: string }[];
      }[];
    }[];
  };
  readonly webhooks: { settled(): Promise<void> };
  describe(): {
    readonly tokens: Readonly<Record<string, string>>;
    readonly app: { readonly id: number; readonly private_key: string };
  };
  // biome-ignore lint/suspicious/noExplicitAny: what an act returns depends on the act
  act(act: Values): Promise<any>;
  configure(options: Values): void;
  close(): Promise<void>;
}

export interface GithubBench {
  readonly github: SchemaGithub;
  readonly forge: Forge;
  /** Another instance for the same repository. */
  another(options?: ForgeOptions): Forge;
  /** A pull request of symphony's user on a new branch. */
  pull(branch?: string): Promise<PullRequest>;
  [Symbol.asyncDispose](): Promise<void>;
}

interface ForgeOptions {
  /** Whose token; `app`: the app instead. */
  readonly as?: string;
  readonly timeoutMs?: number;
}

export const marker = "<!-- symphony delivery 1 -->";

/** A GitHub with its sample world and a forge for `acme/app`. At the end every answer must have had GitHub's form. */
export async function githubBench(
  options: Values = {},
  forgeOptions: ForgeOptions = {},
): Promise<GithubBench> {
  const server = await import(pathToFileURL(join(equipment("fake-github"), "server.mjs")).href);
  const github: SchemaGithub = await server.startFakeGithub({ issues: 2, ...options });
  const forges: Forge[] = [];
  const another = ({ as = "symphony-bot", timeoutMs }: ForgeOptions = {}) => {
    const { tokens, app } = github.describe();
    const token = { token: "$FORGE_SECRET", base_url: github.api };
    const ofApp = { app: { id: app.id, private_key: "$FORGE_SECRET" }, base_url: github.api };
    const settings = githubOf(as === "app" ? ofApp : token, () => {
      return as === "app" ? readFileSync(app.private_key, "utf8") : (tokens[as] ?? as);
    });
    const forge = githubForge({
      settings,
      clock: systemClock,
      repository: { owner: "acme", name: "app" },
      writeGapMs: 0,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    forges.push(forge);
    return forge;
  };
  const forge = another(forgeOptions);
  return {
    github,
    forge,
    another,
    async pull(branch = "symphony/eng-1") {
      await github.act({
        do: "push",
        as: "symphony-bot",
        branch,
        files: { "a.txt": "one\ntwo\n" },
      });
      return forge.open({ branch, base: "main", title: "ENG-1", body: marker, draft: false });
    },
    async [Symbol.asyncDispose]() {
      for (const one of forges) one.close();
      await github.close();
      assert.deepEqual(github.totals.schemaErrors, {});
    },
  };
}

/** Checks an error of a forge: its category, further values, and that its message is one line without a token. */
export function failure(category: ForgeError["category"], more: Partial<ForgeError> = {}) {
  return (error: unknown) => {
    assert.ok(error instanceof ForgeError, String(error));
    assert.equal(error.category, category, error.message);
    assert.deepEqual({ ...error, ...more }, { ...error });
    assert.doesNotMatch(error.message, /gh[ps]_|\n/);
    return true;
  };
}
