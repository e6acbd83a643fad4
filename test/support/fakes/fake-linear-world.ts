const epoch = Date.parse("2026-11-01T00:00:00.000Z");

/** An issue as the double stores it. Tests may change it in place; `change` also moves `updatedAt`. */
export interface FakeIssue {
  readonly id: string;
  readonly identifier: string;
  title: unknown;
  description: unknown;
  priority: unknown;
  state: string;
  url: unknown;
  assigneeId: string | null;
  delegateId: string | null;
  labels: readonly string[];
  /** Identifiers of the issues that block it. */
  blockedBy: readonly string[];
  project: string;
  archived: boolean;
  createdAt: string;
  updatedAt: string;
  readonly comments: string[];
  /** Identifier of the issue that it is a part of. */
  parent: string | null;
}

export interface FakeLinearOptions {
  readonly issues?: readonly (Partial<FakeIssue> & { readonly identifier: string })[];
  readonly apiKey?: string;
  readonly project?: string;
  readonly states?: readonly string[];
  /** null: the answer has no viewer. */
  readonly viewer?: string | null;
}

type Json = Readonly<Record<string, unknown>>;

/** The issues behind the double, and the answers to the documents that it knows. */
export class FakeWorld {
  readonly issues: FakeIssue[] = [];
  readonly views: { id: string; slugId: string; name: string; filterData: Json }[] = [];
  readonly labels: { name: string; isGroup?: boolean; team?: { id: string } }[] = [];
  readonly users = ["ada", "grace", "me"].map((name) => ({
    id: `user-${name}`,
    email: `${name}@acme.test`,
    displayName: name,
  }));
  readonly project: string;
  apiKey: string;
  readonly #states: readonly string[];
  readonly #viewer: string | null;
  /** Of the comments that were written with an id. */
  #commentsAfter = 0;
  readonly #commentIds = new Map<string, { readonly issue: FakeIssue; readonly at: number }>();
  #minutes = 0;

  constructor(options: FakeLinearOptions) {
    this.project = options.project ?? "a79254768c8f";
    this.apiKey = options.apiKey ?? "lin_api_fake";
    this.#states = options.states ?? [
      "Backlog",
      "Todo",
      "In Progress",
      "In Review",
      "Done",
      "Canceled",
    ];
    this.#viewer = options.viewer === undefined ? "user-ada" : options.viewer;
    for (const fields of options.issues ?? []) this.add(fields);
  }

  add(fields: Partial<FakeIssue> & { readonly identifier: string }): FakeIssue {
    const at = this.#now();
    const issue: FakeIssue = {
      id: `00000000-0000-4000-8000-${String(this.issues.length + 1).padStart(12, "0")}`,
      title: `Title of ${fields.identifier}`,
      description: null,
      priority: 0,
      state: "Todo",
      url: `https://linear.app/acme/issue/${fields.identifier}`,
      assigneeId: null,
      delegateId: null,
      labels: [],
      blockedBy: [],
      project: this.project,
      archived: false,
      createdAt: at,
      updatedAt: at,
      comments: [],
      parent: null,
      ...fields,
    };
    this.issues.push(issue);
    return issue;
  }

  change(identifier: string, fields: Partial<FakeIssue>): void {
    Object.assign(this.#require(identifier), { updatedAt: this.#now() }, fields);
  }

  /** The `data` of an answer; throws the error that Linear would return. */
  data(query: string, variables: Json): Record<string, Json | null> {
    const root = /^[^{]*\{\s*(\w+)/.exec(query)?.[1];
    const value = (name: string) => argument(query, variables, name);
    this.#commentsAfter = query.includes("comments(") ? Number(variables["after"] ?? 0) : 0;
    switch (root) {
      case "viewer":
        if (query.includes("comment(")) {
          return { ...this.#owner(query), comment: this.#comment(value("id")) };
        }
        return query.includes("issue(")
          ? { ...this.#owner(query), issue: this.#node(this.#require(value("id")), query) }
          : this.#owner(query);
      case "projects":
        if (query.includes("SymphonyProjects")) {
          return { projects: { nodes: [this.#project(this.project)] } };
        }
        return this.#scope(variables);
      case "issueLabels":
        return { issueLabels: this.#labels(variables) };
      case "users":
        return { users: { nodes: this.#users(variables["filter"] as Filter) } };
      case "customViews":
        return { customViews: { nodes: this.views } };
      case "issues":
        return { issues: this.#page(query, variables), ...this.#members(query, variables) };
      case "issue":
        return {
          issue: this.#node(this.#require(value("id")), query),
          ...this.#members(query, variables),
        };
      case "issueUpdate":
        this.change(this.#require(value("id")).identifier, {
          state: this.#stateOf(value("stateId")),
        });
        return { issueUpdate: { success: true } };
      case "commentCreate":
        this.#write(this.#require(value("issueId")), value("body"), value("id"));
        return { commentCreate: { success: true } };
      case "commentUpdate": {
        const { issue, at } = this.#requireComment(value("id"));
        issue.comments[at] = value("body");
        return { commentUpdate: { success: true } };
      }
      default:
        throw new Error(`Cannot query field "${root}" on this double`);
    }
  }

  #owner(query: string): Record<string, Json | null> {
    const owner = query.includes("displayName") ? { displayName: "ada" } : { name: "Ada" };
    return { viewer: this.#viewer === null ? null : { id: this.#viewer, ...owner, app: false } };
  }

  #scope(variables: Json): Record<string, Json> {
    const states = { nodes: this.#states.map((name) => ({ id: `state-${name}`, name })) };
    const keys = new Set(["ENG", ...this.issues.map(({ identifier }) => teamOf(identifier))]);
    const teams = [...keys].map((key) => ({ id: `team-${key}`, key, name: `Team ${key}`, states }));
    const wanted = JSON.stringify(variables["teams"]).toLowerCase();
    const named = (name: string) => wanted.includes(`"${name.toLowerCase()}"`);
    const slugs = JSON.stringify(variables["projects"]);
    const projects = [...new Set([this.project, ...this.issues.map(({ project }) => project)])];
    const isAny = wanted === "{}";
    return {
      projects: {
        nodes: projects
          .filter((slugId) => slugs.includes(`"${slugId}"`))
          .map((slugId) => ({ ...this.#project(slugId), teams: { nodes: teams } })),
      },
      teams: { nodes: teams.filter(({ key, name }) => isAny || named(key) || named(name)) },
    };
  }

  /** Two on a page. */
  #labels({ after }: Json): Json {
    const all = this.labels.map((label) => ({ isGroup: false, team: null, ...label }));
    const from = typeof after === "string" ? Number(after) : 0;
    const hasNextPage = from + 2 < all.length;
    const endCursor = hasNextPage ? String(from + 2) : null;
    return { nodes: all.slice(from, from + 2), pageInfo: { hasNextPage, endCursor } };
  }

  #project(slugId: string): Json {
    return { id: `project-${slugId}`, slugId, name: `Project ${slugId}` };
  }

  #users(filter: Filter): readonly Json[] {
    const text = JSON.stringify(filter).toLowerCase();
    return this.users.filter((user) =>
      [user.id, user.email, user.displayName].some((name) =>
        text.includes(`"${name.toLowerCase()}"`),
      ),
    );
  }

  /** Which issues fit the filters that are asked for in addition. */
  #members(query: string, variables: Json): Record<string, Json> {
    if (!query.includes("filtered:")) return {};
    const fitting = (name: string) => ({
      nodes: this.issues
        .filter((issue) => matches(issue, variables[name] as Filter))
        .map(({ id }) => ({ id })),
    });
    return { filtered: fitting("filtered"), viewed: fitting("viewed") };
  }

  #page(query: string, variables: Json): Json {
    const first = typeof variables["first"] === "number" ? variables["first"] : 1;
    const matching = this.issues
      .filter((issue) => !issue.archived || /\bissues\([^)]*includeArchived: true/.test(query))
      .filter((issue) => matches(issue, variables["filter"] as Filter))
      .sort((a, b) => Date.parse(b.updatedAt) - Date.parse(a.updatedAt));
    const from = matching.findIndex(({ id }) => id === variables["after"]) + 1;
    const nodes = matching.slice(from, from + first);
    return {
      nodes: nodes.map((issue) => this.#node(issue, query)),
      pageInfo: {
        hasNextPage: from + first < matching.length,
        endCursor: nodes.at(-1)?.id ?? null,
      },
    };
  }

  #node(issue: FakeIssue, query: string): Json {
    const relations = issue.blockedBy.map((identifier) => {
      return { type: "blocks", issue: this.#link(identifier) };
    });
    const children = this.issues.filter(({ parent }) => parent === issue.identifier);
    return {
      id: issue.id,
      identifier: issue.identifier,
      title: issue.title,
      description: issue.description,
      priority: issue.priority,
      url: issue.url,
      branchName: `ada/${issue.identifier.toLowerCase()}`,
      createdAt: issue.createdAt,
      updatedAt: issue.updatedAt,
      state: { id: `state-${issue.state}`, name: issue.state, type: typeOf(issue.state) },
      assignee:
        issue.assigneeId === null ? null : { id: issue.assigneeId, displayName: issue.assigneeId },
      team: {
        id: `team-${teamOf(issue.identifier)}`,
        key: teamOf(issue.identifier),
        name: `Team ${teamOf(issue.identifier)}`,
      },
      project: issue.project === "" ? null : this.#project(issue.project),
      archivedAt: issue.archived ? issue.updatedAt : null,
      trashed: null,
      parent: issue.parent === null ? null : this.#link(issue.parent),
      children: { nodes: children.map(({ identifier }) => this.#link(identifier)) },
      delegate:
        issue.delegateId === null ? null : { id: issue.delegateId, displayName: issue.delegateId },
      labels: cutConnection(
        issue.labels.map((name) => ({ name })),
        query,
        "labels",
      ),
      inverseRelations: cutConnection(relations, query, "inverseRelations"),
      comments: this.#comments(issue),
    };
  }

  #link(identifier: string): Json {
    const { id, title, url, state } = this.#require(identifier);
    return { id, identifier, title, url, state: { name: state } };
  }

  /** Newest first; written by people of which the first is the owner of the key. */
  #comments({ comments }: FakeIssue): Json {
    const nodes = comments.map((body, at) => ({
      id: `comment-${at}`,
      body,
      createdAt: new Date(epoch + at * 1_000).toISOString(),
      user: { id: at === 0 ? this.#viewer : "user-bea", displayName: `Person ${at}`, app: false },
      botActor: null,
      externalUser: null,
    }));
    return {
      nodes: nodes.toReversed().slice(this.#commentsAfter, this.#commentsAfter + 50),
      pageInfo: {
        hasNextPage: nodes.length > this.#commentsAfter + 50,
        endCursor: String(this.#commentsAfter + 50),
      },
    };
  }

  /** Linear refuses an id that is taken. */
  #write(issue: FakeIssue, body: string, id: string): void {
    if (this.#commentIds.has(id)) throw new Error("Entity already exists: Comment");
    if (id !== "") this.#commentIds.set(id, { issue, at: issue.comments.length });
    issue.comments.push(body);
  }

  #requireComment(id: string) {
    const found = this.#commentIds.get(id);
    if (found === undefined) throw new Error("Entity not found: Comment");
    return found;
  }

  #comment(id: string): Json {
    const { issue, at } = this.#requireComment(id);
    return {
      ...{ id, body: issue.comments[at], issue: { id: issue.id }, archivedAt: null },
      ...{ user: { id: this.#viewer, displayName: "ada", app: false } },
    };
  }

  #require(key: string): FakeIssue {
    const issue = this.issues.find(({ id, identifier }) => id === key || identifier === key);
    if (issue === undefined) throw new Error("Entity not found: Issue");
    return issue;
  }

  #stateOf(id: string): string {
    const name = this.#states.find((state) => `state-${state}` === id);
    if (name === undefined) throw new Error("Entity not found: WorkflowState");
    return name;
  }

  #now(): string {
    this.#minutes += 1;
    return new Date(epoch + this.#minutes * 60_000).toISOString();
  }
}

interface Filter {
  readonly and?: readonly Filter[];
  readonly project?: { readonly slugId: OneOf };
  readonly team?: { readonly id?: OneOf; readonly key?: OneOf };
  readonly delegate?: { readonly id: OneOf };
  readonly labels?: { readonly name: OneOf };
  readonly number?: { readonly eq: number };
  readonly state?: { readonly name: { readonly in: readonly string[] } };
  readonly id?: { readonly in: readonly string[] };
  readonly updatedAt?: { readonly gt: string };
}

interface OneOf {
  readonly eq?: string;
  readonly in?: readonly string[];
}

function is(value: string | null, { eq, in: all }: OneOf = {}): boolean {
  return (eq === undefined || eq === value) && (all === undefined || all.includes(value ?? ""));
}

function matches(issue: FakeIssue, filter: Filter): boolean {
  const { project, team, state, id, updatedAt, number, labels, delegate, and = [] } = filter;
  const [, key = "", digits] = /^(.*)-(\d+)$/.exec(issue.identifier) ?? [];
  return (
    is(issue.project, project?.slugId) &&
    is(`team-${key}`, team?.id) &&
    is(key, team?.key) &&
    is(issue.delegateId, delegate?.id) &&
    (number === undefined || number.eq === Number(digits)) &&
    (labels === undefined || issue.labels.some((label) => is(label, labels.name))) &&
    (state?.name.in ?? [issue.state]).includes(issue.state) &&
    (id?.in ?? [issue.id]).includes(issue.id) &&
    (updatedAt === undefined || Date.parse(issue.updatedAt) > Date.parse(updatedAt.gt)) &&
    and.every((one) => matches(issue, one))
  );
}

function cutConnection(nodes: readonly Json[], query: string, name: string): Json {
  const first = Number(new RegExp(`${name}\\(first: (\\d+)\\)`).exec(query)?.[1] ?? 50);
  return { nodes: nodes.slice(0, first), pageInfo: { hasNextPage: nodes.length > first } };
}

/** A string argument of the root field: written out, a variable, or a field of `$input`. */
function argument(query: string, variables: Json, name: string): string {
  const inline = new RegExp(`\\b${name}:\\s*"([^"]*)"`).exec(query)?.[1];
  const variable = new RegExp(`\\b${name}:\\s*\\$(\\w+)`).exec(query)?.[1] ?? name;
  const input = variables["input"] as Json | undefined;
  return String(inline ?? variables[variable] ?? input?.[name] ?? "");
}

function typeOf(state: string): string {
  const types: Readonly<Record<string, string>> = {
    Triage: "triage",
    Backlog: "backlog",
    Todo: "unstarted",
    Done: "completed",
    Canceled: "canceled",
  };
  return types[state] ?? "started";
}

function teamOf(identifier: string): string {
  return identifier.slice(0, identifier.lastIndexOf("-"));
}
