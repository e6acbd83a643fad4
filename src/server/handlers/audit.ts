import type { z } from "zod";
import type { Api } from "../../contract/api.ts";
import { AuditEntryView } from "../../contract/audit.ts";
import type { Core } from "../../core/core.ts";
import { findIssueId } from "../../core/find-issue.ts";
import { writerOf } from "../../core/model/names.ts";
import type { AuditRecord } from "../../core/store/store.ts";
import type { Handlers } from "../mount.ts";
import { KeptAnswers, Prepared } from "../replies.ts";

const writeEntry = writerOf(AuditEntryView);

type List = Api["audit"]["list"];
type Query = z.output<List["query"]>;
type Page = z.output<List["reply"]>;

export function auditHandlers(core: Core): Handlers<Api["audit"]> {
  const kept = new KeptAnswers<Prepared<Page>>();
  return {
    async list({ query }, exchange) {
      // Decisions are recorded after their events and may not have been written yet.
      core.bus.flush();
      const marks = () => [core.history.changes(), core.secretsKnown()];
      const question = JSON.stringify(query);
      const { issue } = query;
      const about = { limit: 1, offset: 0, target: issue ?? "" };
      // An empty list must not look like an answer about an issue that does not exist.
      if (issue !== undefined && core.history.auditPage(about).total === 0) {
        await findIssueId(core, issue);
      } else {
        exchange.repeat(() => {
          core.bus.flush();
          const reply = kept.peek(question, marks());
          return reply === undefined ? null : { reply, tag: null };
        });
      }
      return kept.get(question, marks(), () => Prepared.of(pageView(core, query), core.redact));
    },
  };
}

function pageView(core: Core, query: Query): Page {
  const { limit, offset, actor, action, issue, since, until } = query;
  const { entries, total } = core.history.auditPage({
    limit,
    offset,
    ...(actor !== undefined && { actor }),
    ...(action !== undefined && { action }),
    ...(issue !== undefined && { target: issue }),
    ...(since !== undefined && { since: Date.parse(since) }),
    ...(until !== undefined && { until: Date.parse(until) }),
  });
  return { entries: entries.map(entryView), total, limit, offset };
}

function entryView(entry: AuditRecord): z.output<typeof AuditEntryView> {
  const { seq, prevHash } = entry;
  return writeEntry({ ...entry, id: `aud_${seq}`, prevHash: prevHash === "" ? null : prevHash });
}
