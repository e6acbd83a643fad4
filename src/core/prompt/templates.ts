import { randomBytes } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { PromptText } from "../config/chain.ts";
import type { Effective } from "../config/check.ts";
import type { Place } from "../config/places.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue, IssueComment, IssueLink } from "../model/issue.ts";
import { overriddenWith, stateTemplateId, workflowTemplateId } from "../orchestrator/choice.ts";
import type { Orchestrator } from "../orchestrator/orchestrator.ts";
import type { EventSink, Store } from "../store/store.ts";
import type { StoredTemplate } from "../store/templates.ts";
import type { Redactor } from "../text/redact.ts";
import {
  readsComments,
  renderPrompt,
  renderTemplate,
  requireUsable,
  variablesIn,
} from "./prompt.ts";

/** A named template, or the body of the workflow file, which is edited in that file. */
export interface Template {
  readonly id: string;
  readonly name: string;
  readonly body: string;
  /** Where it begins in its file; null for a named template. */
  readonly at: Place | null;
  readonly readOnly: boolean;
  /** Milliseconds since the epoch; null for the body of the workflow file. */
  readonly createdAt: number | null;
  readonly updatedAt: number | null;
}

/** Fields that are left out do not change. */
interface TemplateChange {
  readonly name?: string;
  readonly body?: string;
}

/** The data for a preview: an issue, or variables that lie over those of the sample. */
export type PreviewWith =
  | {
      readonly issue: Issue;
      readonly attempt: number | null;
      /** Called only for a template that uses them. */
      readonly comments: () => Promise<readonly IssueComment[]>;
    }
  | { readonly variables: Readonly<Record<string, unknown>> };

interface TemplatesDeps {
  readonly store: Pick<Store, "templates">;
  readonly clock: Clock;
  readonly config: { readonly current: Pick<Effective, "promptAt" | "promptTemplate" | "prompts"> };
  readonly bus: EventSink;
  readonly redactor: Pick<Redactor, "redact">;
  orchestrator(): Pick<Orchestrator, "applySaved" | "post" | "state">;
}

/** Templates and overrides are read and written as one document. */
const templatesKept = 200;

/**
 * Prompt templates, and the template of each issue that overrides its own. Every promise resolves
 * once the change is durable.
 */
export class Templates {
  readonly #deps: TemplatesDeps;
  /** Templates that are being deleted: no issue may choose one of them. */
  readonly #leaving = new Set<string>();

  constructor(deps: TemplatesDeps) {
    this.#deps = deps;
  }

  /** The workflow's first: its body, then those of tracker states; then the others, oldest first. */
  all(): readonly Template[] {
    const { promptTemplate, promptAt, prompts } = this.#deps.config.current;
    const workflow = [
      ofFile(workflowTemplateId, { text: promptTemplate, at: promptAt }),
      ...[...prompts].map(([state, prompt]) => ofFile(stateTemplateId(state), prompt)),
    ];
    const named = this.#deps.store.templates.all().filter(({ id }) => !this.#leaving.has(id));
    return [...workflow, ...named.map((one) => ({ ...one, at: null, readOnly: false }))];
  }

  /** Finds a template by its id alone. */
  find(id: string): Template | null {
    return this.all().find((template) => template.id === id) ?? null;
  }

  /** Finds a template by its id, else by its name in any case. Throws `template_not_found`. */
  get(idOrName: string): Template {
    const wanted = idOrName.toLowerCase();
    const named = () => this.all().find(({ name }) => name.toLowerCase() === wanted);
    const template = this.find(idOrName) ?? named();
    if (!template) throw templateMissing(idOrName);
    return template;
  }

  /** The variables that a body uses, such as `issue.title`. */
  variablesOf({ body }: Template): Promise<readonly string[]> {
    return variablesIn(body);
  }

  /** Rejects with `template_parse_error`, `template_render_error` (an unknown filter or variable), `template_exists`. */
  async create(name: string, body: string): Promise<Template> {
    await requireUsable(body);
    const wall = this.#deps.clock.wall();
    const id = `tpl_${randomBytes(8).toString("hex")}`;
    const made: StoredTemplate = { id, name, body, createdAt: wall, updatedAt: wall };
    await this.#deps.store.templates.change((all) => {
      if (all.length >= templatesKept) {
        const message = `there are ${templatesKept} templates already; delete one first`;
        throw new SymphonyError("invalid_request", message);
      }
      requireFree(all, made);
      return [...all, made];
    });
    this.#tell(made, "created");
    return { ...made, at: null, readOnly: false };
  }

  /** Rejects as `create` does, and with `template_not_found`, `template_read_only`. */
  async edit(idOrName: string, change: TemplateChange): Promise<Template> {
    const { id } = this.get(idOrName);
    requireWritable(id);
    if (change.body !== undefined) await requireUsable(change.body);
    const updatedAt = this.#deps.clock.wall();
    const changed = (before: StoredTemplate) => ({ ...before, ...change, updatedAt });
    const written = await this.#deps.store.templates.change((all) => {
      const found = all.find((one) => one.id === id);
      if (!found) throw templateMissing(id);
      requireFree(all, changed(found));
      return all.map((one) => (one.id === id ? changed(one) : one));
    });
    const edited = written.find((one) => one.id === id);
    if (!edited) throw templateMissing(id);
    this.#tell(edited, "edited");
    this.#deps.orchestrator().post({ type: "prompt.changed", templateId: id });
    return { ...edited, at: null, readOnly: false };
  }

  /** Rejects with `template_not_found`, `template_read_only`, `template_in_use` (`details.usedBy`). */
  async remove(idOrName: string): Promise<void> {
    const template = this.get(idOrName);
    const { id } = template;
    requireWritable(id);
    const usedBy = overriddenWith(this.#deps.orchestrator().state, id);
    if (usedBy.length > 0) throw inUse(template, usedBy);
    this.#leaving.add(id);
    try {
      await this.#deps.store.templates.change((all) => all.filter((one) => one.id !== id));
    } finally {
      this.#leaving.delete(id);
    }
    this.#tell(template, "deleted");
  }

  /**
   * The prompt as an agent would receive it, secrets redacted. Rejects like `renderPrompt`, and names every name that no
   * issue has, also where the text that uses it is not rendered this time.
   */
  async preview(idOrName: string, subject: PreviewWith): Promise<string> {
    const { body } = this.get(idOrName);
    await requireUsable(body);
    const rendered = await ("issue" in subject
      ? renderPrompt(body, {
          ...subject,
          comments: readsComments(body) ? await subject.comments() : [],
        })
      : renderTemplate(
          body,
          { issue: sampleIssue, attempt: null, comments: sampleComments },
          subject.variables,
        ));
    return this.#deps.redactor.redact(rendered);
  }

  /** Takes effect with the next attempt. Rejects with `template_not_found`. */
  async choose(issue: Issue, idOrName: string): Promise<void> {
    const { id: templateId } = this.get(idOrName);
    const input = { type: "operator.templateChosen", issue, templateId } as const;
    await this.#deps.orchestrator().applySaved(issue.id, input);
  }

  /** Restores the workflow's template from the next attempt on; works without an override too. */
  async clear(issue: Issue): Promise<void> {
    if (this.overrideOf(issue.id) === null) return;
    const input = { type: "operator.templateChosen", issue, templateId: null } as const;
    await this.#deps.orchestrator().applySaved(issue.id, input);
  }

  /** One line for each named template that no attempt could use, such as one of an earlier version. */
  async unusable(): Promise<readonly string[]> {
    const lines = this.#deps.store.templates.all().map(async ({ name, body }) => {
      const fault = await requireUsable(body).catch(messageOf);
      return fault === undefined ? [] : [`template ${name} cannot be used: ${fault}`];
    });
    return (await Promise.all(lines)).flat();
  }

  overrideOf(issueId: string): string | null {
    return this.#deps.orchestrator().state.issues.get(issueId)?.choices.templateId ?? null;
  }

  /** The issue named `identifier` (any case) if it has an override, also if the tracker lost it. */
  overridden(identifier: string): Issue | null {
    const wanted = identifier.trim().toLowerCase();
    const rows = [...this.#deps.orchestrator().state.issues.values()];
    const found = rows.find(
      ({ issue, choices }) =>
        choices.templateId !== null && issue.identifier.toLowerCase() === wanted,
    );
    return found?.issue ?? null;
  }

  #tell({ id, name }: Pick<Template, "id" | "name">, change: string): void {
    this.#deps.bus.publish({
      type: "template.changed",
      message: `template ${name} ${change}`,
      data: { change, template_id: id, name },
    });
  }
}

function ofFile(id: string, { text: body, at }: PromptText): Template {
  return { id, name: id, body, at, readOnly: true, createdAt: null, updatedAt: null };
}

function isOfFile(id: string): boolean {
  return id === workflowTemplateId || id.startsWith(stateTemplateId(""));
}

/** `template_not_found`. */
export function templateMissing(id: string): SymphonyError {
  return new SymphonyError("template_not_found", `there is no template ${id}`, {
    hint: "symphony templates list",
  });
}

function requireWritable(id: string): void {
  if (!isOfFile(id)) return;
  const message = "the workflow's own prompt is edited in its file";
  const own = id === workflowTemplateId;
  throw new SymphonyError("template_read_only", message, {
    hint: own
      ? "edit the text under the front matter of WORKFLOW.md"
      : `symphony config get prompts names the file of ${id}`,
  });
}

/** Names must differ by more than the case of their letters. */
function requireFree(all: readonly StoredTemplate[], { id, name }: StoredTemplate): void {
  const wanted = name.toLowerCase();
  const holder = all.find((one) => one.id !== id && one.name.toLowerCase() === wanted);
  if (!holder && !isOfFile(wanted)) return;
  throw new SymphonyError("template_exists", `there is a template named ${name} already`, {
    details: { templateId: holder?.id ?? workflowTemplateId },
    hint: `symphony templates show ${holder?.id ?? workflowTemplateId}`,
  });
}

function inUse({ name }: Template, usedBy: readonly string[]): SymphonyError {
  const message = `${usedBy.length} issue(s) override with ${name}`;
  return new SymphonyError("template_in_use", message, {
    details: { usedBy },
    hint: `symphony template clear ${usedBy[0]}`,
  });
}

function linkOf(identifier: string, title: string, state: string): IssueLink {
  const url = `https://tracker.example/${identifier}`;
  return { id: identifier.toLowerCase(), identifier, title, state, url };
}

const sampleComments: readonly IssueComment[] = [
  { author: "Ada", by: "person", body: "Keep it small.", createdAt: Date.UTC(2026, 0, 6, 14) },
];

/** The data for a preview without an issue: every field has a value, except those of one kind of tracker. */
const sampleIssue: Issue = {
  id: "sample-1",
  nativeRef: null,
  identifier: "SAMPLE-1",
  title: "Add a health check",
  description: "GET /health answers 200 once the database can be reached.",
  priority: 2,
  state: "Todo",
  branchName: "sample-1-add-a-health-check",
  url: "https://tracker.example/SAMPLE-1",
  stateType: "unstarted",
  assigneeId: "person-1",
  assignee: { id: "person-1", name: "Ada" },
  team: { id: "team-1", key: "SAMPLE", name: "Samples" },
  project: { id: "project-1", slug: "sample", name: "Sample" },
  parent: linkOf("SAMPLE-9", "Operations", "In Progress"),
  subIssues: [linkOf("SAMPLE-2", "Document the check", "Todo")],
  labels: ["backend", "feature"],
  blockedBy: [linkOf("SAMPLE-0", "Choose a database", "Done")],
  dispatchable: true,
  withheld: null,
  withheldBy: null,
  createdAt: Date.UTC(2026, 0, 5, 9),
  updatedAt: Date.UTC(2026, 0, 6, 14, 30),
};
