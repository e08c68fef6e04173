"""A generated source of N tenants x 5 contracts: the same bytes for the same N.

Each contract has 159 lines, about 4.4 KB: 6 operations with input and output schemas, whose bounds are its own, so that
nothing is won by looking at equal schemas once. Each tenant has people, groups, grants with cross references, two
consumers, two plans and two subscriptions.

    python tests/bench/generate.py 100 /tmp/source
"""

import shutil
import subprocess
import sys
from pathlib import Path

CONTRACTS = ("accounts", "orders", "parts", "routes", "tickets")
_NOUNS = {"accounts": "account", "orders": "order", "parts": "part", "routes": "route", "tickets": "ticket"}

_PLATFORM = """\
apiVersion: gostoa.dev/v2
kind: Platform
metadata:
  name: bench
spec:
  displayName: Bench
  domain: bench.example
  environments:
    prod:
      gateway: https://mcp.bench.example
      issuer: https://login.bench.example/realms/bench
      targets: [mcp, keycloak, helm]
      runtime:
        image:
          repository: registry.bench.example/stoa
          tag: 1.0.0
  zones:
    external:
      trust: untrusted
      namespaces: [ingress]
      cidrs: [0.0.0.0/0]
    dmz:
      trust: semi-trusted
      namespaces: [edge]
    internal:
      trust: trusted
      namespaces: [core]
  flows:
    - from: external
      to: dmz
      port: 8080
    - from: dmz
      to: internal
      port: 8443
  tiers:
    standard:
      maxContracts: 10
      maxTools: 100
      maxConsumers: 10
      maxRate: 1000/second
  classifications:
    H:
      demands: [output-schema, intent]
      maxRate: 100/second
    VH:
      demands: [output-schema, intent, backend-auth]
      approval: [destructive]
      maxRate: 50/second
  roles:
    operator:
      description: Sees every tenant.
      scope: platform
      permissions: [catalog:read, posture:read, tools:read, tools:write, tools:destructive, approvals:decide]
    owner:
      description: Runs a tenant.
      permissions: [catalog:read, posture:read, tools:read, tools:write, tools:destructive, approvals:decide]
    worker:
      description: Works with the tenant's APIs.
      permissions: [catalog:read, tools:read, tools:write]
    reader:
      description: Looks and changes nothing.
      permissions: [catalog:read, tools:read]
  grants:
    - role: operator
      tools: ["*:*:*"]
  people:
    root:
      firstName: Root
      lastName: Admin
      email: root@bench.example
  groups:
    admins:
      roles: [operator]
      members: [root]
  backends:
    allowedHosts:
"""

_TENANT = """\
apiVersion: gostoa.dev/v2
kind: Tenant
metadata:
  name: {tenant}
spec:
  displayName: Tenant {number}
  tier: standard
  contact: api@{tenant}.example
  environments: [prod]
  people:
    {tenant}-ada:
      firstName: Ada
      lastName: Number {number}
      email: ada@{tenant}.example
    {tenant}-ben:
      firstName: Ben
      lastName: Number {number}
      email: ben@{tenant}.example
  groups:
    owners:
      roles: [owner]
      members: [{tenant}-ada]
    readers:
      roles: [reader]
      members: [{tenant}-ben]
  grants:
    - role: owner
      tools: ["{tenant}:*:*"]
    - role: worker
      tools: ["{tenant}:orders:*", "{tenant}:parts:*"]
    - role: worker
      tools: ["{tenant}:orders:cancel_order"]
      effect: deny
    - role: reader
      tools: ["{tenant}:accounts:get_account", "{tenant}:routes:*"]
  secrets:
    prefix: tenants/{tenant}
"""

_CONTRACT = """\
apiVersion: gostoa.dev/v2
kind: UniversalAPIContract
metadata:
  name: {contract}
  tenant: {tenant}
spec:
  displayName: {title} of tenant {number}
  description: Keeps {noun}s.
  version: 1.{minor}.0
  classification: {classification}
  status: published
  owner: {contract}@{tenant}.example
  backend:
    urls:
      prod: https://{contract}.{tenant}.example/v1
    auth:
      type: bearer
      secret: vault:tenants/{tenant}/{contract}#token
  operations:
    get_{noun}:
      method: GET
      path: /{contract}/{{id}}
      summary: One {noun}
      intent: When its number is known.
      sideEffects: read
      input:
        type: object
        properties:
          id: {{type: string, maxLength: {size}}}
        required: [id]
      output:
        type: object
        properties:
          id: {{type: string}}
          state: {{enum: [open, held, closed]}}
          total: {{type: number, maximum: {size}}}
          tags: {{type: array, items: {{type: string}}}}
        required: [id, state]
      examples:
        - name: An open {noun}
          input: {{id: X-1001}}
          output: {{id: X-1001, state: open, total: 12.5, tags: [new]}}
"""

_OUTPUT = """\
      output:
        type: object
        properties:
          id: {{type: string}}
          state: {{enum: [open, held, closed]}}
          total: {{type: number, maximum: {size}}}
          tags: {{type: array}}
        required: [id, state]
"""

_MORE = """\
    list_{noun}s:
      method: GET
      path: /{contract}
      summary: List {noun}s
      intent: When its number is not known.
      sideEffects: read
      input:
        type: object
        properties:
          state: {{enum: [open, held, closed]}}
          limit: {{type: integer, minimum: 1, maximum: 100, default: 20}}
          cursor: {{type: string, maxLength: {size}}}
      output:
        type: object
        properties:
          items:
            type: array
            items:
              type: object
              properties:
                id: {{type: string}}
                state: {{type: string}}
              required: [id]
          next: {{type: string}}
        required: [items]
      limits: {{rate: 20/second}}
    create_{noun}:
      method: POST
      path: /{contract}
      summary: A new {noun}
      intent: When somebody asked for it and named the parts.
      sideEffects: write
      limits: {{rate: 5/second}}
      input:
        type: object
        properties:
          owner: {{type: string, minLength: 1, maxLength: 80}}
          lines:
            type: array
            minItems: 1
            items:
              type: object
              properties:
                part: {{type: string}}
                quantity: {{type: integer, maximum: {size}}}
              required: [part, quantity]
              additionalProperties: false
        required: [owner, lines]
"""

_LAST = """\
    update_{noun}:
      method: PATCH
      path: /{contract}/{{id}}
      summary: Change a {noun}
      intent: To hold or reopen it.
      sideEffects: write
      input:
        type: object
        properties:
          id: {{type: string}}
          state: {{enum: [open, held]}}
          note: {{type: string, maxLength: {size}}}
        required: [id, state]
{output}    history_of_{noun}:
      method: GET
      path: /{contract}/{{id}}/history
      summary: Its history
      intent: To explain how it came to its state.
      sideEffects: read
      input:
        type: object
        properties:
          id: {{type: string}}
          since: {{type: string, format: date}}
        required: [id]
      output:
        type: array
        items:
          type: object
          properties:
            at: {{type: string, format: date-time}}
            text: {{type: string, maxLength: {size}}}
          required: [at, text]
    cancel_{noun}:
      method: DELETE
      path: /{contract}/{{id}}
      summary: Cancel a {noun}
      intent: Only when somebody asked for it.
      sideEffects: destructive
      input:
        type: object
        properties:
          id: {{type: string}}
          reason: {{type: string, maxLength: {size}}}
        required: [id]
{output}"""

_CONSUMER = """\
apiVersion: gostoa.dev/v2
kind: Consumer
metadata:
  name: {name}
  tenant: {tenant}
spec:
  displayName: {title} of tenant {number}
  client: confidential
  grantTypes: [client_credentials]
  roles: [worker]
  actors:
    - name: {title} agent
      kind: agent
"""

_PLAN = """\
apiVersion: gostoa.dev/v2
kind: Plan
metadata:
  name: {name}
  tenant: {tenant}
spec:
  displayName: {title}
  rate: {rate}/second
  burst: 5
  quota:
    calls: 100000
    per: month
"""

_SUBSCRIPTION = """\
apiVersion: gostoa.dev/v2
kind: Subscription
metadata:
  name: {consumer}-{contract}
  tenant: {tenant}
spec:
  consumer: {consumer}
  contract: {contract}
  plan: {plan}
  status: active
  expires: "2031-12-31"
"""


def contract(tenant: str, number: int, index: int) -> str:
    """The text of a tenant's contract number `index`."""
    name = CONTRACTS[index]
    words = {
        "tenant": tenant,
        "number": number,
        "contract": name,
        "noun": _NOUNS[name],
        "title": name.capitalize(),
        "size": 1000 + number * len(CONTRACTS) + index,
        "minor": (number * 7 + index) % 10,
        "classification": "VH" if (number + index) % 4 == 0 else "H",
    }
    output = _OUTPUT.format(**words)
    return _CONTRACT.format(**words) + _MORE.format(**words) + output + _LAST.format(**words, output=output)


def tenant_files(number: int) -> dict[str, str]:
    """The files of one tenant, by path."""
    tenant = f"t{number:05d}"
    words: dict[str, object] = {"tenant": tenant, "number": number}
    files = {f"{tenant}/tenant.yaml": _TENANT.format(**words)}
    for index, name in enumerate(CONTRACTS):
        files[f"{tenant}/contracts/{name}.yaml"] = contract(tenant, number, index)
    for name, title in (("desk", "Desk"), ("robot", "Robot")):
        files[f"{tenant}/consumers/{name}.yaml"] = _CONSUMER.format(**words, name=name, title=title)
    for name, title, rate in (("basic", "Basic", 5), ("gold", "Gold", 50)):
        files[f"{tenant}/plans/{name}.yaml"] = _PLAN.format(**words, name=name, title=title, rate=rate)
    for consumer, subscribed, plan in (("desk", "orders", "basic"), ("robot", "parts", "gold")):
        text = _SUBSCRIPTION.format(**words, consumer=consumer, contract=subscribed, plan=plan)
        files[f"{tenant}/subscriptions/{consumer}-{subscribed}.yaml"] = text
    return files


def generate(tenants: int, root: Path) -> int:
    """Writes the source of `tenants` tenants below `root`; gives the number of files."""
    hosts = "".join(f'      - host: "*.t{n:05d}.example"\n        tenants: [t{n:05d}]\n' for n in range(tenants))
    identity = (
        "  identity:\n    realm: bench\n    clients:\n      claude:\n        displayName: Claude\n"
        "        redirectUris: [https://claude.ai/api/mcp/auth_callback]\n"
    )
    files = {"platform.yaml": _PLATFORM + hosts + identity}
    for number in range(tenants):
        files.update(tenant_files(number))
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return len(files)


def planned_source(source: Path, tenants: int, repository: Path) -> Path:
    """The source again, in a Git repository whose last commit changed a contract of each of twenty tenants."""
    copied = repository / "tenants"
    shutil.copytree(source, copied)
    git = ["git", "-C", str(repository), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)

    def commit(message: str) -> None:
        for words in (["add", "."], ["commit", "--quiet", "--message", message]):
            subprocess.run([*git, *words], check=True)

    commit("A source")
    for number in range(0, tenants, max(tenants // 20, 1))[:20]:
        path = copied / f"t{number:05}" / "contracts" / "orders.yaml"
        text = path.read_text(encoding="utf-8")
        changed = text.replace("summary: One order", "summary: An order, by its number", 1)
        path.write_text(changed.replace("limits: {rate: 5/second}", "limits: {rate: 9/second}", 1), "utf-8")
    commit("A change")
    return copied


if __name__ == "__main__":
    print(generate(int(sys.argv[1]), Path(sys.argv[2])), "files")
