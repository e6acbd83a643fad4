import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KeptAnswers } from "../../src/server/replies.ts";

describe("kept answers", () => {
  test("are computed once for each request while every mark is the same", () => {
    const kept = new KeptAnswers<string>();
    let made = 0;
    const ask = (question: string, ...marks: readonly unknown[]) =>
      kept.get(question, marks, () => `${question} ${++made}`);
    assert.equal(ask("a", 1, "x"), "a 1");
    assert.equal(ask("b", 1, "x"), "b 2");
    assert.equal(ask("a", 1, "x"), "a 1");
    assert.equal(ask("a", 1, "y"), "a 3");
    assert.equal(ask("b", 1, "y"), "b 4");
    assert.equal(ask("a", 2, "y"), "a 5");
  });

  test("are limited in number, and the newest is kept", () => {
    const kept = new KeptAnswers<string>();
    const made: string[] = [];
    const ask = (question: string) =>
      kept.get(question, [], () => {
        made.push(question);
        return question;
      });
    for (let at = 0; at < 100; at++) ask(String(at));
    ask("99");
    ask("0");
    assert.equal(made.length, 101);
  });

  test("are computed again when what no mark shows has changed", () => {
    const places = new Set(["/a"]);
    const kept = new KeptAnswers<boolean>((isThere) => places.has("/a") === isThere);
    assert.equal(
      kept.get("a", [1], () => true),
      true,
    );
    assert.equal(kept.peek("a", [1]), true);
    places.clear();
    assert.equal(kept.peek("a", [1]), undefined);
    assert.equal(
      kept.get("a", [1], () => false),
      false,
    );
  });

  test("are not kept when computing them fails", () => {
    const kept = new KeptAnswers<string>();
    const fail = (): string => {
      throw new Error("not now");
    };
    assert.throws(() => kept.get("a", [], fail), /not now/);
    assert.equal(
      kept.get("a", [], () => "then"),
      "then",
    );
  });
});
