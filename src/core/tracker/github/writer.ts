import { z } from "zod";
import type { Clock } from "../../clock.ts";
import type { GithubClient } from "../../github/client.ts";
import { SymphonyError } from "../../model/errors.ts";
import { ForgeError } from "../../model/forge-error.ts";
import { type Issue, type IssueName, normalState, type TrackerState } from "../../model/issue.ts";
import type { IssueChange, IssueDraft } from "../tracker.ts";
import type { Board, Option } from "./board.ts";
import { readComments } from "./comments.ts";
import type { GithubReader } from "./reader.ts";
import type { RepositoryIssues } from "./repository.ts";
import { closingReason, type IssueRow, oneRow, plainStates, statusIn } from "./rows.ts";
import type { GithubTrackerSettings } from "./settings.ts";

export interface WriterDeps {
  readonly settings: GithubTrackerSettings;
  readonly reader: GithubReader;
  readonly board: Board | null;
  readonly clock: Clock;
  readonly repositories: readonly RepositoryIssues[];
  discover(): Promise<void>;
  clientOf(repository: RepositoryIssues): GithubClient;
  login(repository: RepositoryIssues): Promise<string | null>;
}

const issue = "/repos/{owner}/{repo}/issues/{number}";
const label = z.object({ name: z.string() });
const labelList = z.array(label);
const posted = z.object({ id: z.number() });
const labelsKeptMs = 60_000;

interface Home {
  readonly repository: RepositoryIssues;
  readonly client: GithubClient;
  readonly at: { readonly owner: string; readonly repo: string; readonly number: number };
}

/** Every write to GitHub's issues: for a move, for the agent's tools, and for people. Rejects with ForgeErrors too. */
export class GithubWriter {
  readonly #deps: WriterDeps;
  readonly #labels = new Map<
    RepositoryIssues,
    { readonly at: number; readonly names: Promise<readonly string[]> }
  >();

  constructor(deps: WriterDeps) {
    this.#deps = deps;
  }

  /** The states that the configuration and GitHub name. */
  get states(): readonly TrackerState[] {
    return this.statesWith([]);
  }

  /** These, and those that the labels of the issue's repository name. */
  async statesOf({ id }: Pick<Issue, "id">): Promise<readonly TrackerState[]> {
    return this.#statesIn((await this.#home(id)).repository);
  }

  async #statesIn(repository: RepositoryIssues): Promise<readonly TrackerState[]> {
    if (this.#deps.settings.states.from === "project") return this.statesOfBoard();
    return this.statesWith(await this.labelsOf(repository));
  }

  /** As it is spelled there. Rejects with `transition_not_allowed`. */
  async #stateNamed(repository: RepositoryIssues, name: string, who: string): Promise<string> {
    const states = await this.#statesIn(repository);
    const state = states.find((one) => normalState(one.name) === normalState(name))?.name;
    if (state !== undefined) return state;
    const allowed = states.map((one) => one.name);
    const message = `${who} cannot move to ${name}; it can to ${allowed.join(", ")}`;
    throw new SymphonyError("transition_not_allowed", message, { details: { allowed } });
  }

  /** The options of the board, as they are now. */
  async statesOfBoard(): Promise<readonly TrackerState[]> {
    await this.#deps.board?.facts();
    return this.states;
  }

  /** In the order of work. */
  statesWith(labels: readonly string[]): readonly TrackerState[] {
    const { settings, board } = this.#deps;
    const { states } = settings;
    const { configured, terminal, from } = states;
    const [open = "Open", ...closed] = plainStates;
    const own = from === "issue" ? [] : [...configured.values()].toReversed();
    const found = labels.flatMap((one) => statusIn(one, states) ?? []);
    // Before the board has been read, the configuration is all that is known.
    const options = board?.known?.status.options.map(({ name }) => name) ?? own;
    const names =
      from === "project" ? [...options, ...closed] : [open, ...own, ...found, ...closed];
    const unique = new Map(names.toReversed().map((name) => [normalState(name), name]));
    return [...unique].toReversed().map(([key, name]) => ({ name, terminal: terminal.has(key) }));
  }

  /** The labels of a repository, at most a minute old. */
  async labelsOf(repository: RepositoryIssues): Promise<readonly string[]> {
    const { owner, repo } = repository.place;
    const { clock } = this.#deps;
    const client = this.#deps.clientOf(repository);
    const known = this.#labels.get(repository);
    if (known && clock.now() - known.at < labelsKeptMs) return known.names;
    const names = client
      .list(label, "GET /repos/{owner}/{repo}/labels", { owner, repo })
      .then((all) => all.map(({ name }) => name));
    this.#labels.set(repository, { at: clock.now(), names });
    names.catch(() => this.#labels.delete(repository));
    return names;
  }

  /** Safe to repeat. Rejects with `transition_not_allowed`. */
  async move(moved: IssueName, name: string): Promise<void> {
    const home = await this.#home(moved.id);
    const state = await this.#stateNamed(home.repository, name, moved.identifier);
    const row = await this.#row(home, moved);
    if (await this.#onBoard(home, row, state)) return;
    const reason = closingReason(state);
    if (reason !== undefined) {
      const change = { state: "closed", state_reason: reason };
      if (row.state === "open" || row.state_reason !== reason) await this.#patch(home, change);
      return;
    }
    if (row.state === "closed") await this.#patch(home, { state: "open" });
    if (this.#deps.settings.states.from === "labels") await this.#relabel(home, row, state);
  }

  /**
   * Chooses the status; false: `state` is none of the board's. The issue is closed for a terminal one and opened for another
   * first, because a workflow of the project may change the status with it.
   */
  async #onBoard(home: Home, row: IssueRow, state: string): Promise<boolean> {
    const { board, settings } = this.#deps;
    const nodeId = row.node_id ?? "";
    const status = (await board?.facts())?.status;
    if (!board || !status?.options.some(({ name }) => name === state)) return false;
    const isTerminal = settings.states.terminal.has(normalState(state));
    const closed = { state: "closed", state_reason: closingReason(state) ?? "completed" };
    if (isTerminal && row.state === "open") await this.#patch(home, closed);
    if (!isTerminal && row.state === "closed") await this.#patch(home, { state: "open" });
    await board.refresh([nodeId]);
    if (board.card(nodeId) === null) await board.add(nodeId);
    if (board.card(nodeId)?.status !== state) await board.choose(nodeId, status, state);
    return true;
  }

  /** Once for each `key`: the body of a comment that is there is replaced. */
  async comment(
    on: IssueName,
    { key, body }: { readonly key: string | null; readonly body: string },
  ) {
    const { client, at, repository } = await this.#home(on.id);
    const marker = key === null ? "" : `<!-- symphony ${key.replaceAll(/-{2,}|[<>]/g, "-")} -->`;
    const text = key === null ? body : `${marker}\n${body}`;
    if (key !== null) {
      const login = await this.#deps.login(repository);
      const all = await readComments(client, at);
      const own = all.find((one) => {
        return one.body?.startsWith(marker) && (login === null || one.user?.login === login);
      });
      if (own?.body?.replaceAll("\r\n", "\n") === text) return;
      if (own) {
        const route = "PATCH /repos/{owner}/{repo}/issues/comments/{id}";
        await client.write(posted, route, { ...at, id: own.id, body: text });
        return;
      }
    }
    await client.write(posted, `POST ${issue}/comments`, { ...at, body: text });
  }

  /** In the first repository of the configuration, or the only one of the board. */
  async create(draft: IssueDraft): Promise<Issue> {
    const { repositories, clientOf, reader, settings } = this.#deps;
    await this.#deps.discover();
    const [repository] = repositories;
    const isClear = settings.repositories.length > 0 || repositories.length === 1;
    if (repository === undefined || !isClear) {
      const all = repositories.map(({ place }) => `${place.owner}/${place.repo}`).join(", ");
      const message = `the project has issues of ${all || "no repository"}, and none is named for a new one`;
      const hint = "create it on GitHub, or name the repositories in tracker.provider.repositories";
      throw new SymphonyError("invalid_request", message, { hint });
    }
    const { owner, repo } = repository.place;
    // What would be refused afterwards leaves no issue.
    if (draft.state !== undefined) await this.#stateNamed(repository, draft.state, "a new issue");
    await this.#blockers(draft.blockedBy ?? [], null);
    const ranked = await this.#priority(repository, draft.priority);
    const labels = [...(draft.labels ?? []), ...ranked];
    const { title, description: body } = draft;
    const route = "POST /repos/{owner}/{repo}/issues";
    const order = { owner, repo, title, body: body ?? "", labels };
    const startedAt = this.#deps.clock.wall();
    const row = await clientOf(repository)
      .write(oneRow, route, order)
      .catch((error: unknown) => this.#made(repository, { ...order, startedAt }, error));
    requireLabels(row.labels, labels);
    if (row.node_id) await this.#deps.board?.add(row.node_id);
    const made = await reader.require(repository, row.number);
    const { from, first } = this.#deps.settings.states;
    // Its labels may name one already.
    const isNew = from === "labels" && normalState(made.state) === "open";
    const begin = isNew || from === "project" ? first : null;
    return this.edit(made, {
      ...(from === "project" && { priority: draft.priority }),
      blockedBy: draft.blockedBy,
      state: draft.state ?? begin ?? undefined,
    });
  }

  /** The issue of a request whose answer was lost, if GitHub has made it; else throws the error. */
  async #made(
    repository: RepositoryIssues,
    order: { readonly title: string; readonly body: string; readonly startedAt: number },
    error: unknown,
  ): Promise<IssueRow> {
    if (!(error instanceof ForgeError) || error.category !== "unavailable") throw error;
    const { aheadMs } = this.#deps.clientOf(repository).gap;
    // GitHub counts in seconds.
    const since = order.startedAt - aheadMs - 1_000;
    const rows = await repository.open().catch((): readonly IssueRow[] => []);
    const made = rows.find(
      ({ title, body, created_at: at }) =>
        title === order.title && (body ?? "") === order.body && Date.parse(at) >= since,
    );
    if (made === undefined) throw error;
    return made;
  }

  /** Omitted fields stay as they are; labels of a state or a priority stay unless that is what changes. */
  async edit(edited: Issue, change: IssueChange): Promise<Issue> {
    const home = await this.#home(edited.id);
    const { title, description, labels, priority, blockedBy, state } = change;
    const row = await this.#row(home, edited);
    const blockers = blockedBy && (await this.#blockers(blockedBy, row));
    if (state !== undefined) await this.#stateNamed(home.repository, state, edited.identifier);
    const wanted = await this.#labelsFor(home, row, { labels, priority });
    const fields = {
      ...(title !== undefined && { title }),
      ...(description !== undefined && { body: description ?? "" }),
      ...(wanted !== null && { labels: wanted }),
    };
    if (Object.keys(fields).length > 0) {
      const after = await this.#patch(home, fields);
      requireLabels(after.labels, wanted ?? []);
    }
    await this.#rank(row, priority);
    if (blockers !== undefined) await this.#block(home, row, blockers);
    if (state !== undefined) await this.move(edited, state);
    return this.#deps.reader.require(home.repository, home.at.number);
  }

  async #home(id: string): Promise<Home> {
    const { repository, number } = await this.#deps.reader.home(id);
    const { owner, repo } = repository.place;
    return { repository, client: this.#deps.clientOf(repository), at: { owner, repo, number } };
  }

  async #row({ repository, at }: Home, { identifier }: IssueName): Promise<IssueRow> {
    const row = await repository.one(at.number);
    if (!("gone" in row)) return row;
    throw new SymphonyError("issue_not_found", `${identifier} is gone: ${row.gone}`);
  }

  #patch({ client, at }: Home, change: Readonly<Record<string, unknown>>): Promise<IssueRow> {
    return client.write(oneRow, `PATCH ${issue}`, { ...at, ...change });
  }

  /** First the new label and then the old ones away, so that no label of another person is lost. */
  async #relabel({ client, at, repository }: Home, row: IssueRow, state: string): Promise<void> {
    const { states } = this.#deps.settings;
    const isWanted = (one: string) =>
      normalState(statusIn(one, states) ?? "") === normalState(state);
    const isOpen = normalState(state) === "open";
    const known = (await this.labelsOf(repository)).find(isWanted) ?? `${states.prefix}${state}`;
    if (!isOpen && !row.labels.some(isWanted)) {
      const after = await client.write(labelList, `POST ${issue}/labels`, {
        ...at,
        labels: [known],
      });
      requireLabels(
        after.map(({ name }) => name),
        [known],
      );
    }
    for (const name of row.labels) {
      if (statusIn(name, states) === null || (isWanted(name) && !isOpen)) continue;
      await client.write(labelList, `DELETE ${issue}/labels/{name}`, { ...at, name });
    }
  }

  /** null: they stay as they are. */
  async #labelsFor(
    { repository }: Home,
    row: IssueRow,
    { labels, priority }: Pick<IssueChange, "labels" | "priority">,
  ): Promise<readonly string[] | null> {
    if (labels === undefined && priority === undefined) return null;
    const { priorities, states } = this.#deps.settings;
    const isPriority = (one: string) => priorities.has(one.trim().toLowerCase());
    const kept = row.labels.filter((one) => {
      if (isPriority(one)) return priority === undefined;
      return labels === undefined || statusIn(one, states) !== null;
    });
    return [
      ...new Set([...kept, ...(labels ?? []), ...(await this.#priority(repository, priority))]),
    ];
  }

  /** Chooses the priority in the board's field, where it has one. */
  async #rank({ node_id: nodeId }: IssueRow, priority: number | null | undefined): Promise<void> {
    const { board, settings } = this.#deps;
    const field = (await board?.facts())?.priority;
    if (!board || !field || !nodeId || !priority) return;
    const isWanted = ({ name }: Option) =>
      settings.priorities.get(name.trim().toLowerCase()) === priority;
    const option = field.options.find(isWanted);
    if (option === undefined) throw noPriority("the project has no option", priority);
    await board.choose(nodeId, field, option.name);
  }

  /** The label of a priority, as the repository has it; none where the board has a field for it. */
  async #priority(repository: RepositoryIssues, priority: number | null | undefined) {
    if (priority === null || priority === undefined || priority === 0) return [];
    const { priorities } = this.#deps.settings;
    if ((await this.#deps.board?.facts())?.priority) return [];
    const all = await this.labelsOf(repository);
    const found = all.find((one) => priorities.get(one.trim().toLowerCase()) === priority);
    if (found !== undefined) return [found];
    throw noPriority("the repository has no label", priority);
  }

  /** Rejects with `invalid_request` for one that does not exist, and for the issue itself. */
  async #blockers(names: readonly string[], own: IssueRow | null): Promise<readonly IssueRow[]> {
    const { reader } = this.#deps;
    const rows = await Promise.all(names.map((one) => reader.rowNamed(one)));
    if (!rows.some(({ id }) => id === own?.id)) return rows;
    throw new SymphonyError("invalid_request", "blockedBy: the issue would block itself");
  }

  async #block({ client, at, repository }: Home, row: IssueRow, wanted: readonly IssueRow[]) {
    const { blockedBy } = await repository.relations(row);
    const route = `${issue}/dependencies/blocked_by`;
    for (const { id } of wanted) {
      if (blockedBy.some((one) => one.id === id)) continue;
      await client.write(z.unknown(), `POST ${route}`, { ...at, issue_id: id });
    }
    for (const { id } of blockedBy) {
      if (wanted.some((one) => one.id === id)) continue;
      await client.write(z.unknown(), `DELETE ${route}/{id}`, { ...at, id });
    }
  }
}

function noPriority(what: string, priority: number): SymphonyError {
  return new SymphonyError("invalid_request", `${what} for priority ${priority}`, {
    hint: "tracker.provider.priority_labels names the labels and options that are priorities",
  });
}

/** GitHub leaves labels out, without an error, for a credential that may not set them. */
function requireLabels(has: readonly string[], wanted: readonly string[]): void {
  const known = new Set(has.map((one) => one.toLowerCase()));
  const missing = wanted.filter((one) => !known.has(one.toLowerCase()));
  if (missing.length === 0) return;
  throw new SymphonyError("tracker_status", `GitHub did not set the label ${missing.join(", ")}`, {
    hint: "only a token with write access to the repository may set labels",
  });
}
