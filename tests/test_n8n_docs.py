"""What n8n's users are given is true: the page, and the workflows that it hands out.

The JavaScript of the workflows runs in Node here, in a double of what n8n gives to it.
"""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.catalogue import example, in_mode
from gateway.config.made import make_subscription
from gateway.config.reader import Place
from gateway.config.settings import PROFILES, Settings, SubscriptionSettings
from gateway.models import Millis, Mode
from gateway.signing import generate_secret, parse_secret, sign
from gateway.web.api.operation import Door
from gateway.web.api.table import OPERATIONS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/consumers/n8n.md").read_text("utf-8")
FOLDER = ROOT / "integrations/n8n"
NODE = FOLDER / "n8n-nodes-webhook-gateway/nodes/WebhookGatewayTrigger"
WORKFLOWS = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("workflows/*")}
VERSIONS = {  # of n8n's own nodes, all of which n8n 1.123 and 2.x have
    "n8n-nodes-base.code": 2,
    "n8n-nodes-base.crypto": 1,
    "n8n-nodes-base.extractFromFile": 1,
    "n8n-nodes-base.if": 2.2,
    "n8n-nodes-base.noOp": 1,
    "n8n-nodes-base.removeDuplicates": 2,
    "n8n-nodes-base.respondToWebhook": 1.1,
    "n8n-nodes-base.set": 3.4,
    "n8n-nodes-base.webhook": 2.1,
}
SECRET, OTHER = generate_secret(), generate_secret()

needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="N8N'S WORKFLOWS ARE NOT RUN: node is not installed"
)


def node_of(workflow: str, name: str) -> dict[str, Any]:
    (found,) = [node for node in WORKFLOWS[workflow]["nodes"] if node["name"] == name]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_whole(name: str) -> None:
    workflow = WORKFLOWS[name]
    nodes = {node["name"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"])
    assert len({node["id"] for node in nodes.values()}) == len(nodes)
    assert (workflow["active"], workflow["settings"]) == (False, {"executionOrder": "v1"})
    assert {node["type"]: node["typeVersion"] for node in nodes.values()}.items() <= (
        VERSIONS.items()
    )
    assert not any("credentials" in node for node in nodes.values())
    targets = {
        link["node"]
        for outputs in workflow["connections"].values()
        for output in outputs["main"]
        for link in output
    }
    assert set(workflow["connections"]) <= set(nodes)
    assert targets == set(nodes) - {"Webhook"}
    hook = nodes["Webhook"]
    assert hook["parameters"]["path"] == name
    assert hook["parameters"]["httpMethod"] == "POST"
    assert "ignoreBots" not in hook["parameters"]["options"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", hook["webhookId"])


def test_ids_are_not_shared() -> None:
    for key in ("id", "name"):
        assert len({workflow[key] for workflow in WORKFLOWS.values()}) == len(WORKFLOWS)
    hooks = {node_of(name, "Webhook")["webhookId"] for name in WORKFLOWS}
    assert len(hooks) == len(WORKFLOWS)


@pytest.mark.parametrize("name", ["orders-verify", "orders-verify-crypto"])
def test_what_is_not_authentic_goes_to_the_401(name: str) -> None:
    yes, no = WORKFLOWS[name]["connections"]["Authentic?"]["main"]
    assert (yes[0]["node"], no[0]["node"]) == ("Answer 200", "Answer 401")
    for code in (200, 401):
        options = node_of(name, f"Answer {code}")["parameters"]["options"]
        assert options["responseCode"] == code
    hook = node_of(name, "Webhook")["parameters"]
    assert (hook["responseMode"], hook["options"]) == ("responseNode", {"rawBody": True})


def delivery(mode: Mode, *, secrets: tuple[str, ...] = (SECRET,), age: int = 0) -> dict[str, Any]:
    """A delivery as n8n hands it on: headers and bytes, as the gateway makes and signs them."""
    headers, body = in_mode(example("order.shipped"), mode)
    stamp = int(time.time()) - age
    signature = sign([parse_secret(secret) for secret in secrets], "evt_1", stamp, body)
    signed = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature.decode("ascii"),
    }
    return {"headers": headers | signed, "body": body.decode("utf-8")}


def forged(mode: Mode) -> dict[str, Any]:
    found = delivery(mode)
    return {**found, "body": found["body"].replace("order.shipped", "order.paid") + " "}


def in_node(script: str, given: object) -> Any:
    """What a script prints as JSON, to which `given` comes as JSON at its standard input."""
    command = ("node", "--input-type=commonjs", "--eval", script)
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def deliveries() -> dict[str, tuple[dict[str, Any], bool]]:
    """What may come, and whether it is authentic."""
    return {
        **{str(mode): (delivery(mode), True) for mode in Mode},
        "two signatures": (delivery(Mode.JSON, secrets=(OTHER, SECRET)), True),
        "an edge": (delivery(Mode.JSON, age=260), True),
        "forged": (forged(Mode.JSON), False),
        "another secret": (delivery(Mode.JSON, secrets=(OTHER,)), False),
        "old": (delivery(Mode.JSON, age=310), False),
        "to come": (delivery(Mode.JSON, age=-340), False),
        "bare": ({"headers": {}, "body": ""}, False),
    }


CODE = """
const given = JSON.parse(require('fs').readFileSync(0));
const AsyncFunction = (async () => {}).constructor;
const code = new AsyncFunction('$input', '$env', 'require', given.code);
const run = ({ headers, body }) => code.call(
  { helpers: { getBinaryDataBuffer: async () => Buffer.from(body) } },
  { first: () => ({ json: { headers } }), all: () => [{ json: { headers } }] },
  { GATEWAY_SECRET: given.secret },
  require,
);
Promise.all(given.cases.map(run)).then((found) => console.log(JSON.stringify(found)));
"""


@needs_node
def test_the_code_node_verifies() -> None:
    code, cases = node_of("orders-verify", "Verify")["parameters"]["jsCode"], deliveries()
    given = {"code": code, "cases": [case for case, _ in cases.values()]}
    expected = json.loads(in_mode(example("order.shipped"), Mode.STRUCTURED)[1])
    found = in_node(CODE, {**given, "secret": SECRET})
    for name, (_, authentic), items in zip(cases, cases.values(), found, strict=True):
        assert [item["json"]["authentic"] for item in items] == [authentic], name
        if authentic:
            (event,) = [item["json"]["event"] for item in items]
            kept = {"id", "type", "source", "subject", "data"}
            assert {key: event[key] for key in kept} == {key: expected[key] for key in kept}, name
    both = in_node(CODE, {**given, "secret": f"{OTHER} {SECRET}"})
    assert both[list(cases).index("another secret")][0]["json"]["authentic"] is True
    for secret in ("", "whsec_", "not one"):
        refused = in_node(CODE, {**given, "secret": secret})
        assert not any(item["json"]["authentic"] for items in refused for item in items)


EXPRESSIONS = """
const given = JSON.parse(require('fs').readFileSync(0));
const { createHmac } = require('crypto');
String.prototype.base64Decode = function () { return Buffer.from(this, 'base64').toString(); };
const $now = { toSeconds: () => Date.now() / 1000 };
const run = ({ headers, body }) => {
  const nodes = { Webhook: { json: { headers } }, 'Raw text': { json: { raw: body } } };
  const evaluate = (text, $json) => Function('$', '$json', '$now',
    `return ${text.replace(/^=\\{\\{/, '').replace(/\\}\\}$/, '')}`)(
    (name) => ({ item: nodes[name] }), $json, $now);
  const raw = { raw: body };
  const signature = createHmac('sha256', evaluate(given.secret, raw))
    .update(evaluate(given.value, raw)).digest('base64');
  const authentic = given.conditions.every((one) => evaluate(one, { ...raw, signature }) === true);
  return { authentic, event: authentic ? JSON.parse(evaluate(given.event, raw)) : null };
};
console.log(JSON.stringify(given.cases.map(run)));
"""


@needs_node
def test_the_crypto_node_verifies() -> None:
    sign_node = node_of("orders-verify-crypto", "Sign")["parameters"]
    kind = {key: sign_node[key] for key in ("action", "type", "encoding", "dataPropertyName")}
    assert kind == {
        "action": "hmac",
        "type": "SHA256",
        "encoding": "base64",
        "dataPropertyName": "signature",
    }
    raw_node = node_of("orders-verify-crypto", "Raw text")["parameters"]
    assert (raw_node["destinationKey"], raw_node["options"]) == ("raw", {"encoding": "utf8"})
    conditions = node_of("orders-verify-crypto", "Authentic?")["parameters"]["conditions"]
    assert conditions["combinator"] == "and"
    assert "whsec_PUT_YOURS_HERE" in sign_node["secret"]
    assert "whsec_PUT_YOURS_HERE" in PAGE
    cases = {name: case for name, case in deliveries().items() if name not in {"binary", "batch"}}
    given = {
        "secret": sign_node["secret"].replace("whsec_PUT_YOURS_HERE", SECRET),
        "value": sign_node["value"],
        "conditions": [one["leftValue"] for one in conditions["conditions"]],
        "event": node_of("orders-verify-crypto", "Event")["parameters"]["jsonOutput"],
        "cases": [case for case, _ in cases.values()],
    }
    found = in_node(EXPRESSIONS, given)
    for name, (case, authentic), got in zip(cases, cases.values(), found, strict=True):
        assert got["authentic"] is authentic, name
        assert got["event"] == (json.loads(case["body"]) if authentic else None)


def test_repeats_are_dropped_by_the_id_of_the_delivery() -> None:
    parameters = node_of("orders-drop-repeats", "Drop repeats")["parameters"]
    assert parameters["operation"] == "removeItemsSeenInPreviousExecutions"
    assert parameters["dedupeValue"] == "={{ $json.headers['webhook-id'] }}"
    assert f"the last {parameters['options']['historySize']:,}" in PAGE
    hook = node_of("orders-drop-repeats", "Webhook")["parameters"]
    assert hook["responseMode"] == "onReceived"


def test_the_page_hands_out_every_workflow() -> None:
    assert set(re.findall(r"workflows/([a-z-]+)\.json\)", PAGE)) == set(WORKFLOWS)


def test_the_bodies_of_the_page_subscribe() -> None:
    bodies = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert bodies
    for body in bodies:
        keys = json.loads(body)
        made = make_subscription("n8n", keys, Settings(), Millis(0), owner="k", place=Place(""))
        assert (made.profile, made.mode) == ("n8n", Mode.JSON)
        assert made.headers


def test_the_commands_of_the_page_subscribe() -> None:
    lines = re.findall(r"^ *\$ gateway subscriptions add (\S+) (.*)$", PAGE, re.MULTILINE)
    assert lines
    for name, words in lines:
        keys: dict[str, object] = dict(word.split("=", 1) for word in words.split())
        assert make_subscription(name, keys, Settings(), Millis(0)).profile == "n8n"
    assert "`timeout=60s`" in PAGE
    keys = {"url": "https://n8n.example.com/in", "timeout": "60s"}
    assert make_subscription("n8n", keys, Settings(), Millis(0)).timeout == 60_000


def test_the_expressions_of_the_page_find_something() -> None:
    body = json.loads(in_mode(example("order.paid"), Mode.JSON)[1])
    flat = json.loads(in_mode(example("order.paid"), Mode.JSON, flat=True)[1])
    paths = re.findall(r"\{\{ \$json\.body\.([\w.]+) \}\}", PAGE)
    assert paths
    for path in paths:
        found: Any = flat if "__" in path else body
        for name in path.split("."):
            found = found[name]
    assert f"`{flat['data__total__value']}`" in PAGE


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    profile = PROFILES["n8n"]
    words = {5: "five"}
    assert f"{words[profile.slots]} at a time, and waits {profile.timeout // 1000} seconds" in PAGE
    fields = {field.name: field.default for field in msgspec.structs.fields(SubscriptionSettings)}
    assert f"first after {words[fields['schedule'][0] // 1000]} seconds" in PAGE
    (most,) = re.findall(r"MOST_REMEMBERED = (\d+);", (NODE / "repeats.ts").read_text("utf-8"))
    assert f"The last {most} are remembered" in PAGE


def test_the_options_of_the_node_are_all_told() -> None:
    source = (NODE / "properties.ts").read_text("utf-8")
    options = re.findall(r"^\t{4}displayName: '(.+)',$", source, re.MULTILINE)
    section = PAGE.partition("| option | what it does |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| \*\*(.+?)\*\* \|", section, re.MULTILINE) == options


def test_the_stream_is_there_for_who_cannot_be_called() -> None:
    (stream,) = [one for one in OPERATIONS if one.path == "/v1/stream"]
    assert Door.PUBLIC in stream.doors
    assert "subscriber" in stream.roles
    (address,) = re.findall(r"```text\n(https://\S+)\n```", PAGE)
    (named,) = [set(re.findall(r"(\w+)=", address.partition("?")[2]))]
    assert named | {"from"} <= {field.encode_name for field in msgspec.structs.fields(stream.query)}


def test_the_lock_file_names_no_registry() -> None:
    """So that it is good with whichever registry somebody has, and every package has its digest."""
    packages: dict[str, dict[str, Any]] = json.loads(
        (FOLDER / "package-lock.json").read_text("utf-8")
    )["packages"]
    fetched = {
        name: one
        for name, one in packages.items()
        if "node_modules/" in name and not one.get("link")
    }
    assert fetched
    assert [name for name, one in fetched.items() if "resolved" in one] == []
    assert [name for name, one in fetched.items() if "integrity" not in one] == []
