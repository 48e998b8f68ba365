"""The manifests below deploy/kubernetes: valid by the schemas of the API, and confined as the profile `restricted` demands.

Every resource is checked as it is written. Where kubectl is installed, what kustomize makes of base and overlays is, too."""

import pathlib
import shutil
import subprocess
import tomllib

import pytest
from harness import gateway

validate = pytest.importorskip("kubernetes_validate")
yaml = pytest.importorskip("yaml")

DIRECTORY = gateway.ROOT / "deploy/kubernetes"
KUSTOMIZATIONS = sorted(file.parent for file in DIRECTORY.rglob("kustomization.yaml"))
# The newest version of the API that the package knows.
VERSION = "1.37"
# The package has no schemas of custom resources.
CUSTOM = "gateway.networking.k8s.io/"

pytestmark = pytest.mark.ours_only("files of ours")


def name(path):
    return str(path.relative_to(DIRECTORY))


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def resources(directory):
    """The resources that a kustomization adds, as they are written."""
    named = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
    files = [directory / one for one in named if (directory / one).is_file()]
    return [resource for file in files for resource in documents(file.read_text())]


def built(directory):
    if not shutil.which("kubectl"):
        pytest.skip("not installed: kubectl")
    done = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def assert_valid(resource):
    if not resource["apiVersion"].startswith(CUSTOM):
        validate.validate(resource, VERSION, strict=True)


@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=name)
def test_resources_are_valid(directory):
    for resource in resources(directory):
        # A selector is added by kustomize.
        if resource["kind"] == "Deployment":
            resource["spec"]["selector"] = {"matchLabels": {"app.kubernetes.io/name": "websockify"}}
        assert_valid(resource)


@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=name)
def test_files_are_all_used(directory):
    text = (directory / "kustomization.yaml").read_text()
    for file in directory.iterdir():
        assert file.name == "kustomization.yaml" or file.name in text, file


@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=name)
def test_what_kustomize_builds_is_valid_and_restricted(directory):
    resources = built(directory)
    for resource in resources:
        assert_valid(resource)
    workloads = [one for one in resources if one["kind"] in ("Deployment", "StatefulSet")]
    assert workloads
    for workload in workloads:
        assert_restricted(workload["spec"]["template"]["spec"])
    (deployment,) = (one for one in workloads if one["kind"] == "Deployment")
    assert_refers(deployment["spec"]["template"]["spec"], resources)
    assert_drains(deployment["spec"]["template"]["spec"], resources)


def assert_restricted(pod):
    """The Pod Security Standard `restricted`, and a root directory that is read-only."""
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
    assert not any("hostPath" in volume for volume in pod["volumes"])


def assert_refers(pod, resources):
    """Volumes exist, and what they are made of is there, but for certificate and keys, which are a user's own."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    names = {(one["kind"], one["metadata"]["name"]) for one in resources}
    assert ("ConfigMap", volumes["configuration"]["configMap"]["name"]) in names
    for volume in volumes.values():
        if "secret" in volume and volume["name"] not in ("certificate", "ticket-keys"):
            assert ("Secret", volume["secret"]["secretName"]) in names
    # The arguments name a file of the map.
    (configuration,) = (one for one in resources if one["kind"] == "ConfigMap")
    assert container["args"] == ["--config", "/etc/websockify/" + next(iter(configuration["data"]))]
    assert pathlib.PurePath(container["args"][1]).parent == pathlib.PurePath("/etc/websockify")


def assert_drains(pod, resources):
    """The grace period is longer than the stop of the configuration."""
    (configuration,) = (one for one in resources if one["kind"] == "ConfigMap")
    stop = tomllib.loads(next(iter(configuration["data"].values())))["stop"]
    units = {"s": 1, "m": 60, "h": 3600}
    seconds = {name: int(value[:-1]) * units[value[-1]] for name, value in stop.items()}
    assert seconds["linger"] < seconds["drain"]
    assert seconds["drain"] + seconds["spread"] + 5 < pod["terminationGracePeriodSeconds"]
