"""The values of `charts/stoa-runtime`: what the compiler writes and the chart reads."""

import json
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from stoa_schemas.base import Cidr, Closed, Id, Url
from stoa_schemas.documents.platform import Image

CONFIG_MAP_NAME = r"^stoa-bundle-[0-9a-f]{16}$"
CONFIG_MAP_KEY = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"
MOUNTED_PATH = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"

Port = Annotated[int, Field(ge=1, le=65535)]
Quantity = Annotated[str, Field(pattern=r"^[1-9][0-9]*(m|Ki|Mi|Gi)?$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
PublicKey = Annotated[str, Field(pattern=r"^-----BEGIN PUBLIC KEY-----\n")]
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class MountedFile(Closed):
    """One file of the bundle, or one part of a file that is too large for a ConfigMap."""

    key: Annotated[str, Field(pattern=CONFIG_MAP_KEY)]
    """Its key in the ConfigMap's data."""
    path: Annotated[str, Field(pattern=MOUNTED_PATH, max_length=512)]
    """Where it is mounted, from the bundle's folder."""
    content: str
    """The text, byte for byte; the chart never reads it as a template."""


class BundleConfigMap(Closed):
    """An immutable ConfigMap that holds a part of the bundle."""

    name: Annotated[str, Field(pattern=CONFIG_MAP_NAME)]
    """`stoa-bundle-` and the first 16 digits of the sha256 of its keys with the sha256 of each one's text."""
    files: Annotated[list[MountedFile], Field(min_length=1)]
    """What it holds, by key."""


class BundleValues(Closed):
    """The bundle that the pods serve."""

    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Digest of `mcp/manifest.json`; answers and audit lines name it."""
    platform: Id
    """The platform's name."""
    environment: Id
    """dev, staging or prod."""
    development: bool = False
    """Whether the development issuer and mock backends may be used with it."""
    config_maps: Annotated[list[BundleConfigMap], Field(min_length=1)]
    """The files, packed."""


class ReplicaValues(Closed):
    """How many pods serve."""

    min: Annotated[int, Field(ge=1, le=100)] = 2
    """Pods that always run. From 2 on, a disruption budget keeps one."""
    max: Annotated[int, Field(ge=1, le=1000)] = 6
    """Pods at the most; above `min`, an autoscaler moves between the two."""


class ResourceValues(Closed):
    """What each pod gets."""

    cpu: Quantity = "500m"
    """CPU request. There is no CPU limit: throttling would only add latency."""
    memory: Quantity = "256Mi"
    """Memory request and limit."""


class GatewayValues(Closed):
    """Where clients reach the runtime."""

    url: Url
    """Base URL; clients connect to `<url>/mcp`."""


class IssuerValues(Closed):
    """Who issues the tokens."""

    url: Url
    """The tokens' exact issuer; where each tenant has its own, that of the platform's own people."""
    tenants: dict[Id, Url] = {}
    """Where each tenant has an issuer of its own: whose tokens count for whom, the platform's included."""


class AddressBlock(Closed):
    """An address range, as in a NetworkPolicy's `ipBlock`."""

    cidr: Cidr
    """The range."""
    except_: Annotated[list[Cidr], Field(alias="except", min_length=1, default_factory=list)]
    """Ranges inside it that stay closed."""


class EgressRule(Closed):
    """Where the pods may connect to: at least one namespace or range, for a rule without any opens everything."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["namespaces"]}, {"required": ["blocks"]}]},
    )

    namespaces: Annotated[list[Id], Field(min_length=1, default_factory=list)]
    """Every pod in these namespaces."""
    blocks: Annotated[list[AddressBlock], Field(min_length=1, default_factory=list)]
    """Every address in these ranges."""
    ports: Annotated[list[Port], Field(min_length=1)]
    """TCP ports there."""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if not (self.namespaces or self.blocks):
            raise ValueError("`namespaces` or `blocks` is needed: a rule without any opens everything")
        return self


class DnsValues(Closed):
    """Where names are resolved."""

    namespace: Id = "kube-system"
    """Namespace of the cluster's DNS."""
    pod_labels: Annotated[dict[str, Label], Field(min_length=1)] = {"k8s-app": "kube-dns"}
    """Labels of its pods."""


class NetworkPolicyValues(Closed):
    """What may reach the pods, and what they may reach. All else is closed, but DNS."""

    ingress_namespaces: list[Id] = []
    """Namespaces whose pods may connect."""
    egress: list[EgressRule] = []
    """Where the pods may connect to."""
    dns: DnsValues = DnsValues()
    """Where names are resolved."""


class PullSecret(Closed):
    """A Secret with the registry's credentials."""

    name: DnsName
    """Its name, in the release's namespace."""


class CredentialValues(Closed):
    """Where the backends' credentials are."""

    secret_name: DnsName
    """A Secret in the release's namespace whose keys are the runtime's variables, `STOA_SECRET_<PATH>_<KEY>`."""


class SignatureValues(Closed):
    """What vouches for the bundle. Without it the pods ask for no signature."""

    public_keys: Annotated[dict[DnsName, PublicKey], Field(min_length=1)]
    """Public keys by name, PEM; one of them must have signed."""
    envelope: Annotated[str, Field(min_length=2, max_length=1_000_000)]
    """The bundle's `mcp/bundle.intoto.jsonl`, as `stoa sign` wrote it."""
    allow_rollback: bool = False
    """Whether a bundle may be served that is older than one that was."""


class StoreValues(Closed):
    """The Valkey or Redis that all pods share."""

    secret_name: DnsName
    """A Secret in the release's namespace. Its key `url` holds the store's URL, `approvals.key` 64 hexadecimal digits,
    which seal what clients carry from one pod to another."""


class MetricsValues(Closed):
    """Metrics for Prometheus, on a port of their own."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 9090
    """The port."""
    namespaces: list[Id] = []
    """Namespaces whose pods may read them."""


class TraceValues(Closed):
    """Traces for OpenTelemetry. The way to the collector must be open: a flow of the platform, or `networkPolicy`."""

    url: Url
    """The collector, by OTLP over HTTP."""
    ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of traces that are recorded."""


class HelmValues(Closed):
    """Every value that `charts/stoa-runtime` takes."""

    bundle: BundleValues
    """The bundle that the pods serve."""
    image: Image
    """The runtime's container image."""
    image_pull_secrets: list[PullSecret] = []
    """Secrets with the registry's credentials."""
    credentials: CredentialValues | None = None
    """Where the backends' credentials are; none are needed where no contract's backend asks for one."""
    signature: SignatureValues | None = None
    """What vouches for the bundle."""
    store: StoreValues | None = None
    """What the pods count limits and keep approvals in together. Without it each pod does so for itself."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that serve in each pod; more than one need a store."""
    metrics: MetricsValues | None = None
    """Metrics for Prometheus."""
    traces: TraceValues | None = None
    """Traces for OpenTelemetry."""
    replicas: ReplicaValues = ReplicaValues()
    """How many pods serve."""
    resources: ResourceValues = ResourceValues()
    """What each pod gets."""
    gateway: GatewayValues
    """Where clients reach the runtime."""
    issuer: IssuerValues
    """Who issues the tokens."""
    network_policy: NetworkPolicyValues = NetworkPolicyValues()
    """What may reach the pods, and what they may reach."""
    termination_grace_period_seconds: Annotated[int, Field(ge=10, le=3600)] = 45
    """How long a pod that is told to stop may finish the calls it has."""
    global_: Annotated[dict[str, Any], Field(alias="global")] = {}
    """Helm puts a parent chart's global values here; none is read."""

    @model_validator(mode="after")
    def _counts_once(self) -> Self:
        if self.workers > 1 and self.store is None:
            raise ValueError("`workers` above 1 need a `store`: each would count every limit for itself")
        return self


def json_schema() -> dict[str, Any]:
    """`values.schema.json`. Draft 7, since Helm before 3.18 knows no later one."""
    schema = HelmValues.model_json_schema(by_alias=True)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
