"""Who reaches whom, as Kubernetes reads network policies. It shares nothing with what writes them.

A direction of a pod is closed once any policy selects the pod for it; then each rule of each such policy opens.
Selectors in one peer must all match (AND); peers of a rule, rules and policies each open on their own (OR).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from stoa_compiler.records import record

Direction = Literal["Ingress", "Egress"]
Labels = Mapping[str, str]
_NAME = "kubernetes.io/metadata.name"
"""The label in which each namespace has its name; the API server sees to it."""


class Unknown(Exception):
    """A policy says something that this reader does not know: nothing can be promised of it."""


@record
class Pod:
    """A pod that is asked about."""

    namespace: str
    labels: tuple[tuple[str, str], ...] = ()


@record
class Port:
    """A port that is asked about."""

    number: int
    protocol: str = "TCP"


class Policies:
    """The policies of a cluster, and what they leave open."""

    def __init__(self, policies: Sequence[Mapping[str, Any]], namespaces: Mapping[str, Labels]) -> None:
        self._namespaces = namespaces
        self._by_namespace: dict[str, list[_Policy]] = {}
        self._selected: dict[tuple[str, str | None], frozenset[Pod]] = {}
        self._ruling: dict[tuple[Direction, Pod], list[_Rule] | None] = {}
        for policy in policies:
            read = _Policy(policy)
            self._by_namespace.setdefault(read.namespace, []).append(read)
        kinds = sorted({tuple(sorted(labels.items())) for labels in self._named_labels()} | {()})
        self.pods = tuple(Pod(name, labels) for name in sorted(namespaces) for labels in kinds)
        """In each namespace a pod without labels, and one for each set of labels that any policy names."""

    def may(self, direction: Direction, pod: Pod, port: Port) -> set[Pod]:
        """The pods that `pod` may be reached from, or reach, at the port."""
        rules = self._rules(direction, pod)
        if rules is None:
            return set(self.pods)
        found: set[Pod] = set()
        for rule in rules:
            if not rule.has(port):
                continue
            if rule.peers is None:
                return set(self.pods)
            for peer in rule.peers:
                if peer.block is None:
                    found |= self._chosen(peer, pod.namespace)
        return found

    def may_address(self, direction: Direction, pod: Pod, port: Port, address: str) -> bool:
        """Whether `pod` may be reached from, or reach, an address outside the cluster."""
        rules = self._rules(direction, pod)
        if rules is None:
            return True
        asked = _address(address)
        for rule in rules:
            if rule.has(port):
                if rule.peers is None:
                    return True
                for peer in rule.peers:
                    if peer.block is not None and asked in _network(peer.block):
                        outside = any(asked in _network(closed) for closed in peer.outside)
                        if not outside:
                            return True
        return False

    def key(self, direction: Direction, pod: Pod) -> str:
        """What decides about addresses: pods with the same key get the same answers."""
        rules = self._rules(direction, pod)
        if rules is None:
            return "open"
        said = [
            (rule.ports, None if rule.peers is None else [(p.block, p.outside) for p in rule.peers if p.block])
            for rule in rules
        ]
        return repr(sorted(said, key=repr))

    def _named_labels(self) -> Iterator[Labels]:
        for policies in self._by_namespace.values():
            for policy in policies:
                yield _labels(policy.pods)
                for rule in (*policy.ingress, *policy.egress):
                    yield from (_labels(peer.pods) for peer in rule.peers or () if peer.pods is not None)

    def named(self) -> Iterator[frozenset[str]]:
        """The names by which each peer chooses namespaces; one that chooses by anything else is refused.

        A namespace that none of them names is chosen just when any other such is.
        """
        seen: set[str] = set()
        for policies in self._by_namespace.values():
            for policy in policies:
                for rule in (*policy.ingress, *policy.egress):
                    for peer in rule.peers or ():
                        if peer.namespaces is not None and peer.said not in seen:
                            seen.add(peer.said)
                            yield _names(peer.namespaces)

    def ports(self) -> set[Port]:
        """Ports that any rule names, and one beyond."""
        named = {
            port
            for policies in self._by_namespace.values()
            for policy in policies
            for rule in (*policy.ingress, *policy.egress)
            for port in rule.ports or ()
        }
        return named | {Port(1), Port(1, "UDP"), Port(1, "SCTP")}

    def blocks(self) -> set[str]:
        """Address ranges that any rule names."""
        return {
            block
            for policies in self._by_namespace.values()
            for policy in policies
            for rule in (*policy.ingress, *policy.egress)
            for peer in rule.peers or ()
            if peer.block is not None
            for block in (peer.block, *peer.outside)
        }

    def _rules(self, direction: Direction, pod: Pod) -> "list[_Rule] | None":
        """The rules that hold for the pod; None where no policy closes that direction."""
        at = (direction, pod)
        if at not in self._ruling:
            labels = dict(pod.labels)
            closing = [
                p
                for p in self._by_namespace.get(pod.namespace, ())
                if direction in p.directions and _matches(p.pods, labels)
            ]
            rules = [rule for p in closing for rule in (p.ingress if direction == "Ingress" else p.egress)]
            self._ruling[at] = rules if closing else None
        return self._ruling[at]

    def _chosen(self, peer: "_Peer", own: str) -> frozenset[Pod]:
        """The pods that a peer of a policy in the namespace `own` means."""
        key = (peer.said, own if peer.namespaces is None else None)
        if key not in self._selected:
            names = {own}
            if peer.namespaces is not None:
                names = {name for name, labels in self._namespaces.items() if _matches(peer.namespaces, labels)}
            self._selected[key] = frozenset(
                p for p in self.pods if p.namespace in names and _matches(peer.pods, dict(p.labels))
            )
        return self._selected[key]


_address = cache(ip_address)
_network = cache(ip_network)


class _Policy:
    """One policy, read strictly: what is not known is refused."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        spec = _keys(policy.get("spec"), {"podSelector", "policyTypes", "ingress", "egress"})
        self.namespace = _text(_keys(policy.get("metadata"), None).get("namespace"))
        self.pods = _keys(spec.get("podSelector"), {"matchLabels", "matchExpressions"})
        _labels(self.pods)
        self.directions = frozenset(map(_text, _list(spec.get("policyTypes"))))
        if not self.directions or not self.directions <= {"Ingress", "Egress"}:
            raise Unknown("`policyTypes` is left out or unknown")
        self.ingress = [_Rule(rule, "from") for rule in _list(spec.get("ingress", []))]
        self.egress = [_Rule(rule, "to") for rule in _list(spec.get("egress", []))]


class _Rule:
    """Ports and peers; None stands for all of them."""

    def __init__(self, rule: Any, side: str) -> None:
        rule = _keys(rule, {side, "ports"})
        peers = [_Peer(peer) for peer in _list(rule.get(side, []))]
        self.peers = peers or None
        self.ports = frozenset(map(_port, _list(rule.get("ports", [])))) or None

    def has(self, port: Port) -> bool:
        return self.ports is None or port in self.ports


class _Peer:
    """A block of addresses, or namespaces and pods. Without the one, the policy's own; without the other, all."""

    def __init__(self, peer: Any) -> None:
        peer = _keys(peer, {"namespaceSelector", "podSelector", "ipBlock"})
        self.said = repr(peer)
        self.block: str | None = None
        self.outside: tuple[str, ...] = ()
        self.namespaces: Mapping[str, Any] | None = None
        self.pods: Mapping[str, Any] | None = None
        if "ipBlock" in peer:
            if len(peer) != 1:
                raise Unknown("a peer has addresses and selectors")
            block = _keys(peer["ipBlock"], {"cidr", "except"})
            self.block, self.outside = _cidr(block.get("cidr")), tuple(map(_cidr, _list(block.get("except", []))))
            return
        if not peer:
            raise Unknown("a peer is empty")
        if "namespaceSelector" in peer:
            self.namespaces = _keys(peer["namespaceSelector"], {"matchLabels", "matchExpressions"})
        if "podSelector" in peer:
            self.pods = _keys(peer["podSelector"], {"matchLabels", "matchExpressions"})
            _labels(self.pods)


def _matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether the labels fulfil every demand of the selector; an empty one, or none, demands nothing."""
    if selector is None:
        return True
    for key, value in _keys(selector.get("matchLabels", {}), None).items():
        if labels.get(key) != _text(value):
            return False
    for expression in _list(selector.get("matchExpressions", [])):
        _keys(expression, {"key", "operator", "values"})
        value, values = labels.get(_text(expression.get("key"))), list(map(_text, _list(expression.get("values", []))))
        match expression.get("operator"):
            case "In" if values:
                holds = value in values
            case "NotIn" if values:
                holds = value not in values
            case "Exists" if not values:
                holds = value is not None
            case "DoesNotExist" if not values:
                holds = value is None
            case _:
                raise Unknown("a selector's operator is unknown, or its values do not fit")
        if not holds:
            return False
    return True


def _names(selector: Mapping[str, Any]) -> frozenset[str]:
    """The names in a selector of namespaces, which demands nothing else than names."""
    found: list[str] = []
    keys: list[Any] = []
    for key, value in _keys(selector.get("matchLabels", {}), None).items():
        keys.append(key)
        found.append(_text(value))
    for expression in _list(selector.get("matchExpressions", [])):
        keys.append(_keys(expression, {"key", "operator", "values"}).get("key"))
        found.extend(map(_text, _list(expression.get("values", []))))
    if any(key != _NAME for key in keys):
        raise Unknown("namespaces are chosen by something else than their names")
    return frozenset(found)


def _labels(selector: Mapping[str, Any] | None) -> Labels:
    """Labels that fulfil the selector of pods; only exact ones are known here."""
    if selector is None:
        return {}
    if "matchExpressions" in selector:
        raise Unknown("pods are selected by an expression")
    return {key: _text(value) for key, value in _keys(selector.get("matchLabels", {}), None).items()}


def _port(port: Any) -> Port:
    port = _keys(port, {"port", "protocol"})
    number, protocol = port.get("port"), port.get("protocol", "TCP")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise Unknown("a port is no number")
    if protocol not in ("TCP", "UDP", "SCTP"):
        raise Unknown("a protocol is unknown")
    return Port(number, protocol)


def _cidr(value: Any) -> str:
    try:
        network = ip_network(_text(value))
    except ValueError as error:
        raise Unknown(f"an address range is malformed: {error}") from error
    if str(network) != value:
        raise Unknown("an address range is written in an odd way")
    return _text(value)


def _keys(value: Any, known: set[str] | None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unknown("a mapping is missing")
    if known is not None and not value.keys() <= known:
        raise Unknown(f"`{min(value.keys() - known)}` is not known")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unknown("a list is missing")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unknown("a text is missing")
    return value
