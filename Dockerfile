# One build, one small image per service.
#
#   docker build --target broker -t tidings-broker .
#
# The base images can be replaced, for a mirror or for a machine without a registry:
#   docker build --build-arg BUILD_IMAGE=… --build-arg RUNTIME_IMAGE=… --target broker .
ARG BUILD_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# Set it when crates come through a mirror or a vendored folder (see the Cargo book, "Source Replacement").
ARG CARGO_FLAGS=--locked

# First the dependencies alone, against empty crates: this layer is built again only when a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY shared/Cargo.toml shared/
COPY broker/Cargo.toml broker/
COPY handlers/Cargo.toml handlers/
COPY push-gateway/Cargo.toml push-gateway/
COPY passbook-service/Cargo.toml passbook-service/
COPY simulators/Cargo.toml simulators/
COPY tidings/Cargo.toml tidings/
COPY tests/Cargo.toml tests/
COPY xtask/Cargo.toml xtask/
RUN set -eu; \
    for crate in shared broker handlers push-gateway passbook-service simulators tidings tests xtask; do \
        mkdir -p "$crate/src"; \
        echo '//! Empty.' > "$crate/src/lib.rs"; \
        printf '//! Empty.\nfn main() {}\n' > "$crate/src/main.rs"; \
        # Benchmarks and examples that a manifest names are not there yet.
        sed -i '/^\[\[bench\]\]/,/^$/d; /^\[\[example\]\]/,/^$/d' "$crate/Cargo.toml"; \
    done; \
    cargo build --release ${CARGO_FLAGS} \
        -p tidings-broker -p tidings-handlers -p tidings-push-gateway -p tidings-passbook-service -p tidings-simulators

# Then the services themselves.
COPY . .
# cargo goes by the time of files, and the empty crates are younger than the real ones.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + && \
    cargo build --release ${CARGO_FLAGS} \
        -p tidings-broker -p tidings-handlers -p tidings-push-gateway -p tidings-passbook-service -p tidings-simulators && \
    mkdir /out && \
    for program in broker handlers push-gateway passbook-service simulators; do \
        strip --strip-debug -o "/out/tidings-$program" "target/release/tidings-$program"; \
    done

FROM ${RUNTIME_IMAGE} AS runtime
# The services speak TLS to APNs and FCM, and trust what the system trusts.
RUN if [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then \
        apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*; \
    fi; \
    useradd --system --uid 10001 --user-group --home-dir /data --no-create-home tidings && \
    install -d -o tidings -g tidings /data /run/tidings
USER tidings
WORKDIR /data
# Everything that a service keeps is here.
ENV TIDINGS_DATA=/data
VOLUME /data
STOPSIGNAL SIGTERM

FROM runtime AS broker
COPY --from=build /out/tidings-broker /usr/local/bin/
ENV TIDINGS_BROKER__MQTT__LISTEN=0.0.0.0:1883 \
    TIDINGS_BROKER__MQTT_TLS__LISTEN=0.0.0.0:8883 \
    TIDINGS_BROKER__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 1883 8883 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
    CMD ["tidings-broker", "--health", "http://127.0.0.1:8080"]
ENTRYPOINT ["tidings-broker"]

FROM runtime AS push-gateway
COPY --from=build /out/tidings-push-gateway /usr/local/bin/
ENV TIDINGS_PUSH__LISTEN=0.0.0.0:8081
EXPOSE 8081
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
    CMD ["tidings-push-gateway", "--health", "http://127.0.0.1:8081"]
ENTRYPOINT ["tidings-push-gateway"]

FROM runtime AS passbook-service
COPY --from=build /out/tidings-passbook-service /usr/local/bin/
ENV TIDINGS_WALLET__LISTEN=0.0.0.0:8082
EXPOSE 8082
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
    CMD ["tidings-passbook-service", "--health", "http://127.0.0.1:8082"]
ENTRYPOINT ["tidings-passbook-service"]

FROM runtime AS handlers
COPY --from=build /out/tidings-handlers /usr/local/bin/
ENV TIDINGS_HANDLERS__LISTEN=0.0.0.0:8083
EXPOSE 8083
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
    CMD ["tidings-handlers", "--health", "http://127.0.0.1:8083"]
ENTRYPOINT ["tidings-handlers"]

# Development only: APNs, FCM and a token issuer, simulated. Whoever reaches its control gets tokens.
FROM runtime AS simulators
COPY --from=build /out/tidings-simulators /usr/local/bin/
ENV TIDINGS_SIMULATORS__APNS__LISTEN=0.0.0.0:8443 \
    TIDINGS_SIMULATORS__FCM__LISTEN=0.0.0.0:8444 \
    TIDINGS_SIMULATORS__CONTROL__LISTEN=0.0.0.0:8090
EXPOSE 8443 8444 8090
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
    CMD ["tidings-simulators", "--health", "http://127.0.0.1:8090"]
ENTRYPOINT ["tidings-simulators"]
