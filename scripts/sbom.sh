#!/bin/sh
# Writes what the product is made of as CycloneDX JSON into bin/sbom: go.json (the program), python.json (the Python
# side), page.json and client.json (npm). Two runs over the same commit write the same bytes: no serial number, no time.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
mkdir -p bin/sbom
gomod=$(scripts/tools.sh cyclonedx-gomod)
pybom=$(scripts/tools.sh cyclonedx-py)

"$gomod" app -json -output-version 1.6 -noserial -licenses=false -std -main . -output "$root/bin/sbom/go.json" . 2>/dev/null ||
	"$gomod" app -json -output-version 1.6 -noserial -std -main . -output "$root/bin/sbom/go.json" .
PYTHONWARNINGS=ignore "$pybom" requirements --output-reproducible --spec-version 1.6 --output-format JSON --pyproject python/pyproject.toml --output-file bin/sbom/python.json python/requirements.lock
for part in "page gateway/web" "client clients/ts"; do
	set -- $part
	(cd "$2" && npm sbom --sbom-format cyclonedx --package-lock-only) >"bin/sbom/$1.json"
done

# Each is of the format and names parts; what differs between runs is taken out, and so are this machine's paths.
python3 - bin/sbom/*.json <<'EOF'
import json
import sys

failed = False
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as f:
        bom = json.load(f)
    bom.pop("serialNumber", None)
    bom.get("metadata", {}).pop("timestamp", None)
    parts = bom.get("components", [])
    for part in parts:
        part["properties"] = [p for p in part.get("properties", []) if not p["name"].startswith("cdx:npm:package:path")]
        if not part["properties"]:
            del part["properties"]
        part["externalReferences"] = [r for r in part.get("externalReferences", []) if r.get("type") != "distribution"]
        if not part["externalReferences"]:
            del part["externalReferences"]
    nameless = [p for p in parts if not p.get("name") or not p.get("version") or not p.get("purl", "").startswith("pkg:")]
    if bom.get("bomFormat") != "CycloneDX" or not bom.get("specVersion") or len(parts) < 3 or nameless:
        print(f"sbom: {path}: not a bill of materials: {len(parts)} parts, {nameless[:3]} without name, version or purl", file=sys.stderr)
        failed = True
    with open(path, "w", encoding="utf-8") as f:
        json.dump(bom, f, indent=1, sort_keys=True)
        f.write("\n")
    print(f"sbom: {path}: {len(parts)} parts")
sys.exit(failed)
EOF
