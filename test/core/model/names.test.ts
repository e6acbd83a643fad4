import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { z } from "zod";
import { renamed, writerOf } from "../../../src/core/model/names.ts";

describe("configuration sections in the names of the code", () => {
  const schema = z.looseObject({
    turn_timeout_ms: z.number(),
    level: z.string(),
    by_state: z.record(z.string(), z.object({ reasoning_effort: z.string() })),
  });

  test("known keys are renamed, unknown ones dropped, and keys that are data kept", () => {
    const by_state = {
      in_review: { reasoning_effort: "high" },
      "To Do": { reasoning_effort: "low" },
    };
    const written = schema.parse({ turn_timeout_ms: 5, level: "safe", by_state, other_key: 1 });
    assert.deepEqual(renamed(schema, written), {
      turnTimeoutMs: 5,
      level: "safe",
      byState: by_state,
    });
  });
});

describe("values of the code in the names of the contract", () => {
  const Time = z.iso.datetime({ precision: 3 });
  const schema = z
    .object({
      issue_id: z.string(),
      ended_at: Time.nullable().describe("null: it runs"),
      git: z.object({ changed_files: z.number() }).nullable(),
      holds: z.array(
        z.discriminatedUnion("kind", [
          z.object({ kind: z.literal("new_files"), file_count: z.number() }),
          z.object({ kind: z.literal("unknown"), reason: z.string() }),
        ]),
      ),
      data: z.record(z.string(), z.unknown()),
      route: z.object({ base_branch: z.string() }).optional(),
    })
    .meta({ id: "Sample" });
  const write = writerOf(schema);
  const sample = {
    issueId: "1",
    endedAt: 1_700_000_000_000,
    git: { changedFiles: 2 },
    holds: [
      { kind: "new_files", fileCount: 3 },
      { kind: "unknown", reason: "locked" },
    ],
    data: { fooBar: { someKey: 1 }, "X-Header": "a" },
    route: { baseBranch: "main" },
  } as const;

  test("keys and times are converted at every depth; keys of records are data and kept", () => {
    assert.deepEqual(write(sample), {
      issue_id: "1",
      ended_at: "2023-11-14T22:13:20.000Z",
      git: { changed_files: 2 },
      holds: [
        { kind: "new_files", file_count: 3 },
        { kind: "unknown", reason: "locked" },
      ],
      data: { fooBar: { someKey: 1 }, "X-Header": "a" },
      route: { base_branch: "main" },
    });
    const written = write({ ...sample, endedAt: null, git: null, route: undefined });
    assert.deepEqual([written.ended_at, written.git, written.route], [null, null, undefined]);
  });

  test("only names in the schema are written", () => {
    const more = {
      ...sample,
      apiKey: "s3cret",
      git: { changedFiles: 2, apiKey: "s3cret" },
      holds: [{ kind: "unknown", reason: "locked", apiKey: "s3cret" }],
      route: { baseBranch: "main", apiKey: "s3cret" },
    } as const;
    assert.doesNotMatch(JSON.stringify(write(more)), /api|s3cret/i);
  });

  test("a value whose kind the schema does not know is refused", () => {
    const strange = { ...sample, holds: [{ kind: "other", secret: "s3cret" }] };
    assert.throws(() => write(strange as unknown as typeof sample), /without a known kind/);
  });
});
