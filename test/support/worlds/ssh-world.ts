import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, Served, symphony } from "./symphony.ts";

interface SshOptions {
  /** The shell line of the agent. */
  readonly agent: string;
  readonly hosts: readonly string[];
  /** Sections of the workflow file in place of the usual ones. */
  readonly sections?: string;
  /** The real ssh is used. */
  readonly isReal?: boolean;
  /** Further variables of the server. */
  readonly env?: Readonly<Record<string, string>>;
  /** Further lines of the hosts' profiles. */
  readonly profile?: string;
  readonly max?: number | null;
}

/**
 * A project whose attempts run on hosts. Its `ssh` is a script that records its arguments and runs the command on this
 * machine, in the home of the host and apart from the processes of the server; a file `exit` in that home makes it fail.
 */
export class SshWorld implements AsyncDisposable {
  readonly dir: string;
  readonly place: {
    cwd: string;
    workflowPath: string;
    dataDir: string;
    env: Record<string, string>;
  };
  server: Served | null = null;

  private constructor(dir: string) {
    this.dir = dir;
    const env = {
      HOME: dir,
      SHELL: "/bin/bash",
      SYMPHONY_TOKEN: "a-token-of-thirty-two-characters",
    };
    this.place = {
      ...{ cwd: dir, workflowPath: join(dir, "WORKFLOW.md") },
      ...{ dataDir: join(dir, ".symphony"), env },
    };
  }

  static async open(options: SshOptions): Promise<SshWorld> {
    const world = new SshWorld(await mkdtemp(join(tmpdir(), "symphony-ssh-")));
    const { dir } = world;
    await mkdir(join(dir, "shared"));
    await mkdir(join(dir, "bin"));
    await writeFile(join(dir, ".profile"), `export PATH='${dir}/bin':$PATH\n`);
    if (options.isReal !== true)
      await writeFile(join(dir, "bin", "ssh"), fakeSsh(dir), { mode: 0o755 });
    Object.assign(world.place.env, options.env);
    for (const host of options.hosts) {
      const home = world.home(host);
      await mkdir(join(home, "bin"), { recursive: true });
      await writeFile(join(home, ".profile"), `${noise}\n${options.profile ?? ""}\n`);
      const agent = `#!/bin/bash\nshared='${dir}/shared'\n${options.agent}\n`;
      await writeFile(join(home, "bin", "the-agent"), agent, { mode: 0o755 });
    }
    await world.configure(options);
    return world;
  }

  async configure({ hosts, sections, max = null }: SshOptions): Promise<void> {
    const text = `---
tracker: { kind: local }
polling: { interval_ms: 1000 }
workspace: { root: ~/spaces }
${sections ?? usual}
worker: { ssh_hosts: [${hosts.map((host) => `"${host}"`).join(", ")}]${max === null ? "" : `, max_concurrent_agents_per_host: ${max}`} }
host: { min_memory: 0, max_load: 0 }
---
Work on {{ issue.title }}
`;
    await writeFile(this.place.workflowPath, text);
  }

  /** The home directory of a host. */
  home(host: string): string {
    return join(
      this.dir,
      "hosts",
      host
        .trim()
        .replace(/:\d+$/, "")
        .replaceAll(/[^\w.-]/g, "_"),
    );
  }

  get client(): Served["client"] {
    assert.ok(this.server, "the server runs");
    return this.server.client;
  }

  async serve(): Promise<Served> {
    this.server = await Served.start(this.place, "--i-understand");
    return this.server;
  }

  async issue(title = "One"): Promise<void> {
    const made = await symphony(this.place, "issue", "create", "--title", title);
    assert.equal(made.code, 0, made.stderr);
    await this.client.system.refresh();
  }

  async isReady(host: string): Promise<void> {
    await eventually(`${host} is ready`, async () => {
      const { workers } = await this.client.workers.list();
      return workers.find(({ name }) => name === host)?.ready === true;
    });
  }

  /** The issue's newest attempt, when `count` of them have ended. */
  async ended(id: string, count = 1) {
    return eventually(`${count} attempts of ${id} have ended`, async () => {
      const { attempts } = await this.client.issues.attempts({ params: { id } });
      const over = attempts.filter(({ ended_at }) => ended_at !== null);
      return over.length >= count ? (over.at(0) ?? null) : null;
    });
  }

  /** The arguments of every call of ssh so far. */
  get calls(): readonly (readonly string[])[] {
    return this.lines("argv").map((line) => JSON.parse(line) as string[]);
  }

  lines(name: string): readonly string[] {
    const file = join(this.dir, "shared", name);
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
  }

  /** Agents that wait for the file `go` continue. */
  async go(): Promise<void> {
    await writeFile(join(this.dir, "shared", "go"), "");
  }

  /** The next agents wait. */
  async stop(): Promise<void> {
    await rm(join(this.dir, "shared", "go"), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server?.[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

const usual = `agent: { kind: command, level: danger, max_turns: 1, max_retry_backoff_ms: 1000 }
command: { line: the-agent, output: text }
hooks:
  after_create: |
    git init -q -b main && git config user.email a@example.com && git config user.name A
    echo one > one && git add -A && git commit -q -m one`;

const noise = `echo "Welcome to this host"\nexport PATH=$HOME/bin:$PATH`;

function fakeSsh(dir: string): string {
  return `#!/bin/bash
'${process.execPath}' -e 'fs.appendFileSync(process.argv[1], JSON.stringify(process.argv.slice(2)) + "\\n")' '${dir}/shared/argv' "$@"
host="\${*: -2:1}"; command="\${*: -1}"
home='${dir}/hosts/'"\${host//[^A-Za-z0-9_.-]/_}"
if [ -e "$home/exit" ]; then tail -n +2 "$home/exit" >&2; exit "$(head -n 1 "$home/exit")"; fi
[ -d "$home" ] || { echo "ssh: Could not resolve hostname $host" >&2; exit 255; }
cd "$home" && exec setsid -w env -i HOME="$home" USER=there SHELL=/bin/bash PATH=/usr/local/bin:/usr/bin:/bin HOST_NAME="$host" bash -c "$command"
`;
}
