type Values = Readonly<Record<string, unknown>>;

interface SmallCard {
  status: string | null;
  archived?: boolean;
  priority?: string;
}

/** The project `acme/1` of a small GitHub: what its GraphQL answers to the queries of the tracker. */
export class SmallBoard {
  /** By the number of the issue. */
  readonly cards = new Map<number, SmallCard>();
  options = ["Todo", "In Progress", "Done"];
  title = "Roadmap";
  /** The name of the field for the status; the tracker asks for `Status`. */
  statusField = "Status";
  /** The name of the repository. */
  repository = "acme/app";
  /** Items of other things than issues of this repository. */
  foreign: readonly (Values | null)[] = [];
  /** Numbers of issues that are null where they are read by id. */
  readonly hidden = new Set<number>();
  /** Instead of the right one. */
  endCursor: string | null | undefined;
  /** Writes of a status. */
  writes = 0;
  /** Errors next to the data of each answer. */
  errors: readonly Values[] = [];
  /** Points of each answer. */
  cost = 1;
  /** The first page has this many items; the others are on a second one. */
  perPage = 100;

  answer(query: string, variables: Values): Values {
    return { rateLimit: { cost: this.cost }, ...this.#data(query, variables) };
  }

  #data(query: string, variables: Values): Values {
    if (query.includes("organizations(")) {
      const owner = { login: "acme" };
      const board = { number: 1, title: this.title, closed: false, owner };
      const all = { nodes: [board, { ...board, number: 2, closed: true }, null] };
      return {
        viewer: {
          projectsV2: { nodes: [board] },
          organizations: { nodes: [{ projectsV2: all }, null] },
        },
      };
    }
    if (query.includes("addProjectV2ItemById")) {
      const number = numberIn(variables["issue"]);
      if (!this.cards.has(number)) this.cards.set(number, { status: null });
      return { addProjectV2ItemById: { item: { id: `PVTI_${number}` } } };
    }
    if (query.includes("updateProjectV2ItemFieldValue")) {
      this.writes += 1;
      const card = this.cards.get(numberIn(variables["item"]));
      if (card) card.status = String(variables["option"]).replace("option ", "");
      return { updateProjectV2ItemFieldValue: { projectV2Item: { id: variables["item"] } } };
    }
    if (query.includes("nodes(ids:")) return { nodes: this.#nodes(variables["ids"]) };
    if (query.includes("node(id:")) {
      const number = numberIn(variables["id"]);
      return { node: { number, repository: { nameWithOwner: this.repository } } };
    }
    return {
      repositoryOwner: { projectV2: variables["number"] === 1 ? this.#page(variables) : null },
    };
  }

  #nodes(ids: unknown): readonly (Values | null)[] {
    return (Array.isArray(ids) ? ids : []).map((id) => {
      if (this.hidden.has(numberIn(id))) return null;
      const item = this.#item(numberIn(id));
      const nodes = item === null ? [] : [{ ...item, project: { id: "PVT_1" } }];
      return { id, projectItems: { pageInfo: { hasNextPage: false, endCursor: null }, nodes } };
    });
  }

  #page({ after }: Values): Values {
    const own = [...this.cards.keys()].map((number) => ({
      ...this.#item(number),
      content: { id: `I_${number}`, repository: { nameWithOwner: this.repository } },
    }));
    const all = [...this.foreign, ...own];
    const from = Number(after ?? 0);
    const to = from + this.perPage;
    const options = this.options.map((name) => ({ id: `option ${name}`, name }));
    return {
      ...{ id: "PVT_1", title: this.title },
      fields: {
        nodes: [{ id: "F_1", name: "Title" }, { id: "F_2", name: this.statusField, options }, {}],
      },
      items: {
        pageInfo: {
          hasNextPage: all.length > to,
          endCursor: this.endCursor === undefined ? String(to) : this.endCursor,
        },
        nodes: all.slice(from, to),
      },
    };
  }

  #item(number: number): Values | null {
    const card = this.cards.get(number);
    if (card === undefined) return null;
    const { status, archived = false, priority } = card;
    return {
      ...{ id: `PVTI_${number}`, isArchived: archived, estimate: null },
      status: status === null || this.statusField !== "Status" ? null : { name: status },
      priority: priority === undefined ? null : { name: priority },
    };
  }
}

function numberIn(id: unknown): number {
  return Number(String(id).replace(/\D+/, ""));
}
