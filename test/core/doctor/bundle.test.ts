import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutWritten } from "../../../src/core/doctor/bundle.ts";

const canary = "c4n4ry-Val";

for (const text of [
  `api_key=${canary}`,
  `export db_password="${canary} ${canary}"`,
  `PASSWORD=pa$$${canary}`,
  `PASSWORD=ab"${canary}" x`,
  `aws_secret_access_key = ${canary}`,
  `\${TOKEN:-${canary}}`,
  `curl -su user:${canary} https://example.com`,
  `curl -u "user:${canary} ${canary}"`,
  `curl -u$NAME:${canary}`,
  `curl --user=me:${canary}`,
  `psql --password ${canary}`,
  `tool --passphrase '${canary} z'`,
  `tool --db-pass=${canary}`,
  `curl -H "Authorization: token ${canary}"`,
  `curl -H 'X-Api-Key: ${canary}'`,
  `curl -H "PRIVATE-TOKEN: ${canary}"`,
  `Cookie: session=${canary}; other=${canary}`,
  `-d '{"password":"${canary}","user":"me"}'`,
  `-d "{\\"password\\":\\"${canary}\\"}"`,
  `https://example.com/a?access_token=${canary}&page=2`,
  `https://example.com?key=${canary}`,
  `https://me:${canary}$x@example.com`,
  `https://${canary}0123456789@example.com/x`,
  `sshpass -p ${canary} ssh host`,
  `mysql -uroot -p${canary} db`,
  `MYSQL_PWD=${canary} mysql`,
  `npm config set //example.com/:_authToken=${canary}`,
  `machine example.com login me password ${canary}`,
  `echo ${canary} | docker login --password-stdin`,
]) {
  test(`a support file does not show the value of ${text.replaceAll(canary, "…")}`, () => {
    const hidden = withoutWritten(text);
    assert.ok(!hidden.includes(canary), hidden);
    assert.match(hidden, /\[redacted\]/);
  });
}

test("a support file shows names of variables, figures and addresses as they are", () => {
  for (const text of [
    'curl -H "Authorization: Bearer $MY_TOKEN" -u "$NAME:$WORD"',
    'TOKEN="$(cat file)" OTHER_TOKEN=$TOKEN tool --token $TOKEN',
    "missing_tracker_secret: LINEAR_API_KEY is not set",
    "tokens=480 input_tokens=12 key=LIN-4",
    "https://$" + "{NAME}:$" + "{WORD}@example.com git@example.com:a/b ssh://git@example.com",
    "docker run -p 80:80 -v a:b https://example.com:443/@scope/name",
  ]) {
    assert.equal(withoutWritten(text), text);
  }
});

test("hiding values takes no time that grows with the square of a line", {
  timeout: 20_000,
}, () => {
  const parts = ["a=", "token", "--", " -u", ":", '"', "://a:", "login ", "password: "];
  for (const part of parts) withoutWritten(part.repeat(100_000 / part.length));
});
