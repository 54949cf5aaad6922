"""A real Orthanc for tests: started on loopback with storage of its own, stopped and started again at will."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from requests.auth import HTTPBasicAuth

REPOSITORY = Path(__file__).resolve().parents[2]
# Debian's places, and where the same packages lie when requirements/debian.sh unpacked them.
_UNPACKED = REPOSITORY / ".tools" / "debian"
_PLUGINS = [root / "usr/share/orthanc/plugins/libOrthancDicomWeb.so" for root in (Path("/"), _UNPACKED)]
_START_S = 30


def missing() -> str | None:
    """Return in words what a machine lacks to run Orthanc, or None."""
    if shutil.which("Orthanc") is None:
        return "Orthanc is not here (Debian package orthanc)"
    if not any(plugin.exists() for plugin in _PLUGINS):
        return "Orthanc's DICOMweb plugin is not here (Debian package orthanc-dicomweb)"
    return None


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Orthanc:
    """One server; `users` are its names and passwords, and without any it lets everybody in."""

    folder: Path
    users: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> str:
        """The root of its own REST service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The DICOMweb root."""
        return f"{self.root}/dicom-web"

    @property
    def log(self) -> Path:
        """What it wrote while it ran."""
        return self.folder / "orthanc.log"

    @property
    def client(self) -> DICOMwebClient:
        """A DICOMweb client that this program does not use."""
        session = requests.Session()
        session.auth = self._credentials()
        return DICOMwebClient(self.url, session=session)

    def start(self) -> None:
        """Start it and return when it answers."""
        self.folder.mkdir(exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration()))
        libraries = [os.environ.get("LD_LIBRARY_PATH", ""), *map(str, _UNPACKED.glob("usr/lib/*-linux-*"))]
        environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
        command = ["Orthanc", str(configuration)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + _START_S
        while not self._answers():
            assert self.process.poll() is None, f"Orthanc ended:\n{self.log.read_text()}"
            assert time.monotonic() < until, f"Orthanc does not answer:\n{self.log.read_text()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def store(self, path: Path) -> None:
        """Put a file in by Orthanc's own REST service."""
        answer = requests.post(f"{self.root}/instances", data=path.read_bytes(), auth=self._credentials(), timeout=30)
        assert answer.ok, answer.text

    def delete(self, path: Path) -> None:
        """Remove the image that `path` holds."""
        uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        (found,) = requests.post(f"{self.root}/tools/lookup", data=uid, auth=self._credentials(), timeout=30).json()
        requests.delete(f"{self.root}/instances/{found['ID']}", auth=self._credentials(), timeout=30).raise_for_status()

    def fetch(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        """Write a series into `folder`, in the encoding in which it is stored (WADO-RS), and return the files."""
        folder.mkdir()
        images = self.client.retrieve_series(study_uid, series_uid, media_types=(("application/dicom", "*"),))
        paths = []
        for number, image in enumerate(images):
            paths.append(folder / f"{number}.dcm")
            pydicom.dcmwrite(paths[-1], image, enforce_file_format=True)
        return paths

    def series_of(self, study_uid: str) -> dict[str, int]:
        """Return the series of a study with their numbers of images, as QIDO-RS tells."""
        found = [pydicom.Dataset.from_json(each) for each in self.client.search_for_series(study_uid)]
        return {
            str(each.SeriesInstanceUID): len(self.client.search_for_instances(study_uid, each.SeriesInstanceUID))
            for each in found
        }

    def _credentials(self) -> HTTPBasicAuth | None:
        for user, password in self.users.items():
            return HTTPBasicAuth(user.encode(), password.encode())
        return None

    def _configuration(self) -> dict[str, object]:
        return {
            "Name": "TEST",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(self.users),
            "RegisteredUsers": self.users,
            "Plugins": [str(next(plugin for plugin in _PLUGINS if plugin.exists()))],
            "DicomWeb": {"Enable": True},
        }

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/studies", timeout=5).status_code in (200, 401)
        except requests.ConnectionError:
            return False
