import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import type { Step } from "../../../src/demo/script.ts";
import { equipment } from "../fakes/equipment.ts";
import type { SchemaGithub } from "../fakes/schema-github.ts";
import { type DeliveryProject, deliveryProject } from "../makers/delivery-project.ts";
import { eventually, finished, launch, Served, symphony } from "./symphony.ts";

type Values = Readonly<Record<string, unknown>>;

export const branch = "symphony/LOCAL-1-greet-people-by-name";

/** One turn that leaves `file` and says `text`. */
export function round(file: string, text: string): readonly Step[] {
  return [
    { do: "edit", path: file, content: `${text}\n` },
    { do: "say", text },
  ];
}

export interface DeliveryWish {
  /** Lines of YAML below `delivery`, each with its indentation. */
  readonly delivery?: string;
  /** Default: 1,000. */
  readonly pollMs?: number;
  /** Lines of YAML below `tracker`; they may need the address of the GitHub. */
  readonly tracker?: string | ((github: SchemaGithub) => string);
  /** More lines of the front matter. */
  readonly front?: string;
  /** The turns of each issue by identifier. */
  readonly issues?: Readonly<Record<string, readonly (readonly Step[])[]>>;
  readonly github?: Values;
  /** The credential is the app's; else it is a token. */
  readonly app?: boolean;
  readonly codex?: DeliveryCodex;
  readonly env?: Readonly<Record<string, string>>;
}

export interface DeliveryCodex {
  readonly command: string;
  readonly parent: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A project whose work goes to pull requests of `acme/app`, at a GitHub that checks its answers against their description. */
export async function deliveryWorld(wish: DeliveryWish = {}): Promise<DeliveryWorld> {
  const server = await import(pathToFileURL(join(equipment("fake-github"), "server.mjs")).href);
  const options = { issues: 2, ci: "none", ...wish.github };
  const github: SchemaGithub = await server.startFakeGithub(options);
  const states = "  active_states: [Todo, In Progress]\n  provider: { states: [In Review] }";
  const { tokens, app } = github.describe();
  const key = wish.app ? readFileSync(app.private_key, "utf8").replaceAll("\n", "\\n") : "";
  const login = wish.app ? "" : "$GITHUB_TOKEN@";
  const asApp = wish.app ? `, app: { id: ${app.id}, private_key: $APP_KEY }` : "";
  const place = await deliveryProject({
    tracker: typeof wish.tracker === "function" ? wish.tracker(github) : (wish.tracker ?? states),
    url: `${github.web.replace("://", () => `://${login}`)}/acme/app.git`,
    env: {
      ...(wish.app ? { APP_KEY: key } : { GITHUB_TOKEN: tokens["symphony-bot"] ?? "" }),
      ...wish.env,
      ...wish.codex?.env,
    },
    delivery: `  mode: pull_request
  poll_interval_ms: ${wish.pollMs ?? 1_000}
  github: { base_url: "${github.api}"${asApp} }
${wish.delivery ?? ""}`,
    ...(wish.codex && {
      codex: { ...wish.codex, envPassthrough: ["FAKE_MODEL_KEY"] },
    }),
    ...(wish.front && { front: wish.front }),
    ...(wish.issues && { issues: wish.issues }),
  });
  return new DeliveryWorld(github, place);
}

/** What the pull requests of the fake hold, by its REST API as a person reads it. */
interface Pull {
  readonly number: number;
  readonly state: string;
  readonly merged_at: string | null;
  readonly title: string;
  readonly body: string;
  readonly draft: boolean;
  readonly head: { readonly label: string; readonly sha: string };
}

interface Comment {
  readonly id: number;
  readonly body: string;
  readonly in_reply_to_id?: number;
  readonly user: { readonly login: string };
}

export class DeliveryWorld implements AsyncDisposable {
  readonly github: SchemaGithub;
  readonly place: DeliveryProject;
  /** Its name at the moment. */
  repository = "app";
  #server: Served | null = null;

  constructor(github: SchemaGithub, place: DeliveryProject) {
    this.github = github;
    this.place = place;
  }

  get server(): Served {
    assert.ok(this.#server, "the server runs");
    return this.#server;
  }

  async serve(): Promise<Served> {
    this.#server = await Served.start(this.place);
    return this.#server;
  }

  /** From now on the fake posts everything to the server. */
  hook(secret: string): void {
    this.github.world.app.hook = {
      ...{ url: `${this.server.url}/webhooks/github`, secret, content_type: "json" },
      ...{ insecure_ssl: "0", events: ["*"] },
    };
  }

  /** Ends the server as a power cut does, and starts it again, after what happens while it is down. */
  async crash(whileDown: () => Promise<unknown> = async () => {}): Promise<void> {
    await this.server.crash();
    await whileDown();
    await this.serve();
  }

  /** Ends the server while GitHub carries out a call, and starts it again. */
  async crashIn(operation: string): Promise<void> {
    this.github.faults.add({ kind: "slow", ms: 400, match: { operation } });
    const fault = this.github.faults.list.at(-1);
    await this.serve();
    await eventually(operation, async () => (fault?.matched ?? 0) >= 1);
    await this.crash();
  }

  async create(title = "Greet people by name"): Promise<void> {
    const made = await this.symphony("issue", "create", "--title", title);
    assert.equal(made.code, 0, made.stderr);
  }

  symphony(...args: string[]) {
    return symphony(this.place, ...args);
  }

  /** A command line with `input` on its stdin. */
  async typed(input: string, ...args: string[]) {
    const child = launch(this.place, [...args, "--data-dir", this.place.dataDir], "pipe");
    child.stdin?.end(`${input}\n`);
    return finished(child);
  }

  detail(id = "LOCAL-1") {
    return this.server.client.issues.detail({ params: { id } });
  }

  async attempts(id = "LOCAL-1") {
    return (await this.server.client.issues.attempts({ params: { id } })).attempts;
  }

  /** Resolves when the issue looks as `wanted` says. */
  async until(
    what: string,
    wanted: (detail: Awaited<ReturnType<DeliveryWorld["detail"]>>) => boolean,
    id = "LOCAL-1",
  ) {
    let last: unknown = null;
    try {
      return await eventually(what, async () => {
        const detail = await this.detail(id);
        last = [detail.status, detail.issue.state, detail.delivery];
        return wanted(detail) ? detail : undefined;
      });
    } catch (error) {
      throw new Error(`${what}: ${JSON.stringify(last)}\n${this.server.log}`, { cause: error });
    }
  }

  /** Waits for a round: the work is offered in at least so many commits, and its pull request has the newest. */
  async offered(commits: number, id = "LOCAL-1", name = branch) {
    return this.until(
      `${commits} commits are offered`,
      ({ status, delivery }) =>
        status === "review" &&
        delivery?.pull_request?.head_sha === delivery?.head &&
        this.commits(name) >= commits,
      id,
    );
  }

  /** The commits of a branch beyond main, as the bare repository of the fake has them. */
  commits(name = branch): number {
    const found = this.#git("rev-list", "--count", `main..${name}`);
    return Number(found);
  }

  /** Whether the branch of the issue contains a commit. */
  has(commit: string): boolean {
    return this.#git("rev-list", branch).split("\n").includes(commit);
  }

  async pulls(): Promise<readonly Pull[]> {
    const found = await this.rest("GET /repos/acme/app/pulls?state=all&per_page=100");
    const own = (found as readonly Pull[]).filter(({ head }) =>
      head.label.startsWith("acme:symphony/"),
    );
    return own;
  }

  /** Every comment of symphony on a pull request: in the conversation and below lines. */
  async answers(number: number): Promise<readonly Comment[]> {
    const paths = [`issues/${number}/comments`, `pulls/${number}/comments`];
    const pages = paths.flatMap((path) =>
      [1, 2].map((page) => `${path}?per_page=100&page=${page}`),
    );
    const all = await Promise.all(pages.map((page) => this.rest(`GET /repos/acme/app/${page}`)));
    return (all.flat() as readonly Comment[]).filter(({ user }) => user.login === "symphony-bot");
  }

  /** A call as a person. */
  // biome-ignore lint/suspicious/noExplicitAny: what a call returns depends on the call
  async rest(call: string, body?: Values, as = "ada"): Promise<any> {
    const [method = "GET", path = ""] = call.split(" ");
    const answer = await fetch(`${this.github.api}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.github.describe().tokens[as]}`,
        "user-agent": "a-person",
        accept: "application/vnd.github+json",
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    return answer.json();
  }

  /** The issue's comments in the local tracker. */
  linked(): readonly string[] {
    using database = new DatabaseSync(join(this.place.dataDir, "issues.db"), { readOnly: true });
    return database
      .prepare("SELECT body FROM comments")
      .all()
      .map(({ body }) => String(body));
  }

  /** Resolves with the answers of symphony once there are so many. */
  answered(number: number, count: number): Promise<readonly Comment[]> {
    return eventually(`${count} answers`, async () => {
      const found = await this.answers(number);
      return found.length >= count ? found : undefined;
    });
  }

  /** Resolves once symphony has sent a request of this operation since `from`. */
  async asked(operation: string, from = 0): Promise<void> {
    await eventually(operation, async () =>
      this.github.requests.slice(from).some((one) => one.operation === operation),
    );
  }

  /** Everything was written once: one branch, one pull request, one link, each answer. */
  async once(expected: {
    readonly number: number;
    readonly answers: number;
    /** null: any number. */
    readonly attempts: number | null;
  }) {
    const pulls = await this.pulls();
    assert.deepEqual(
      pulls.map(({ number }) => number),
      [expected.number],
    );
    const answers = await this.answered(expected.number, expected.answers);
    const marks = answers.map(({ body }) => body.split("\n")[0]);
    assert.equal(new Set(marks).size, marks.length, "no answer is posted twice");
    assert.equal(answers.length, expected.answers);
    assert.equal(this.linked().length, 1);
    assert.match(this.linked()[0] ?? "", /^Ready for review: Pull request #\d+ http/);
    const attempts = (await this.attempts()).length;
    assert.equal(attempts, expected.attempts ?? attempts);
    const branches = this.#git("branch", "--list", "symphony/*", "--format=%(refname:short)");
    assert.equal(branches, branch);
  }

  hasWorkspace(id = "LOCAL-1"): boolean {
    return existsSync(this.place.workspace(id));
  }

  #git(...args: string[]): string {
    const dir = this.#bare();
    try {
      return execFileSync("git", args, { cwd: dir, encoding: "utf8", stdio: "pipe" }).trim();
    } catch {
      return "";
    }
  }

  #bare(): string {
    const { dir } = this.github.world.repo("acme", this.repository);
    return dir;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await this.github.close();
    await this.place[Symbol.asyncDispose]();
    assert.deepEqual(this.github.totals.schemaErrors, {});
  }
}
