"""Both sides of 150 tenants: a contract and the tenant's own document change in each."""

from pathlib import Path

TENANTS = 150
FOLDER = Path(__file__).parents[1] / "nothing-changed" / "base"


def base() -> dict[str, str]:
    """The files by path."""
    files = {"platform.yaml": (FOLDER / "platform.yaml").read_text()}
    hosts = ""
    for number in range(TENANTS):
        tenant = f"t{number:03}"
        hosts += f'      - {{host: "*.{tenant}.example", tenants: [{tenant}]}}\n'
        for path in sorted((FOLDER / "shop").rglob("*.yaml")):
            text = path.read_text().replace("shop", tenant).replace("Shop", f"Tenant {number}")
            files[f"{tenant}/{path.relative_to(FOLDER / 'shop').as_posix()}"] = text
    old = '      - {host: "*.shop.example", tenants: [shop]}\n'
    files["platform.yaml"] = files["platform.yaml"].replace(old, hosts)
    return files


def head() -> dict[str, str]:
    """Readers get all orders' tools, the answer of one has another state, and the version follows."""
    files = base()
    for number in range(TENANTS):
        tenant = f"t{number:03}"
        document, contract = f"{tenant}/tenant.yaml", f"{tenant}/contracts/orders.yaml"
        files[document] = files[document].replace(f'["{tenant}:orders:get_order"]', f'["{tenant}:orders:*"]')
        files[document] = files[document].replace(f"members: [{tenant}-ada]", f"members: [{tenant}-ada, {tenant}-cyd]")
        files[contract] = files[contract].replace("[open, paid, closed]", "[open, paid, closed, lost]")
        files[contract] = files[contract].replace("version: 1.0.0", "version: 1.1.0")
    return files
