"""A Django project with django-walletpass, for `tidings bench wallet`.

As a program it makes the tables, the passes and the registrations, and prints [[serial, token, device], ...]. As a
module it is what gunicorn serves: the package's own routes, and one that changes a pass as the package's documents
change one (builder, build, write to the model; no push). WALLETPASS_BENCH has the settings as JSON.
"""

import io
import json
import os
import sys
import zipfile
from urllib.parse import unquote, urlsplit

SETTINGS = json.loads(os.environ["WALLETPASS_BENCH"])
FOLDER = SETTINGS["folder"]


def database():
    url = urlsplit(SETTINGS["database"])
    if url.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(FOLDER, "walletpass.db"),
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.lstrip("/"),
        "HOST": url.hostname,
        "PORT": url.port or 5432,
        "USER": unquote(url.username or "postgres"),
        "PASSWORD": unquote(url.password or ""),
        "CONN_MAX_AGE": None,
    }


# As a program it is its own module too: the settings name it.
sys.modules.setdefault("walletpass_peer", sys.modules[__name__])


class NoPushes:
    """Pushes go nowhere: what they cost at Apple is not the measurement's."""

    class Taken:
        status = "200"

    def push_notification_from_instance(self, registration):
        return self.Taken


from django.conf import settings  # noqa: E402

settings.configure(
    DEBUG=False,
    SECRET_KEY="bench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="walletpass_peer",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "django_walletpass"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={"default": database()},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MEDIA_ROOT=os.path.join(FOLDER, "media"),
    USE_TZ=True,
    LOGGING_CONFIG=None,
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
    WALLETPASS={
        "CERT_PATH": os.path.join(FOLDER, "certificate.pem"),
        "KEY_PATH": os.path.join(FOLDER, "key.pem"),
        "KEY_PASSWORD": None,
        "APPLE_WWDRCA_PEM_PATH": os.path.join(FOLDER, "intermediate.pem"),
        "PASS_TYPE_ID": SETTINGS["pass_type"],
        "TEAM_ID": SETTINGS["team"],
        "SERVICE_URL": "https://wallet.example.org",
        "WALLETPASS_PUSH_CLASS": "walletpass_peer.NoPushes",
    },
)

import django  # noqa: E402

django.setup()

from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from django_walletpass.models import Pass, Registration  # noqa: E402
from django_walletpass.services import PassBuilder  # noqa: E402


@csrf_exempt
def change(request, serial):
    instance = Pass.objects.get(serial_number=serial)
    builder = PassBuilder.read_from_model(instance)
    builder.pass_data["storeCard"]["primaryFields"][0]["value"] = json.loads(request.body)["points"]
    builder.build()
    builder.write_to_model(instance)
    return JsonResponse({"changed": True})


urlpatterns = [path("change/<str:serial>", change), path("", include("django_walletpass.urls"))]


def prepare():
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    with open(os.path.join(FOLDER, "template.pkpass"), "rb") as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    files = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(files.pop("pass.json"))
    files.pop("manifest.json")
    files.pop("signature")
    made = []
    for number in range(SETTINGS["passes"]):
        builder = PassBuilder()
        builder.pass_data = json.loads(json.dumps(data))
        for name, content in files.items():
            builder.add_file(name, content)
        builder.pass_data_required["serialNumber"] = f"bench-{number}"
        builder.build()
        instance = builder.write_to_model()
        device = f"bench-device-{number // SETTINGS['on_device']}"
        Registration.objects.create(
            device_library_identifier=device, push_token=f"{number:064x}", pazz=instance
        )
        made.append([instance.serial_number, instance.authentication_token, device])
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    prepare()
else:
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
