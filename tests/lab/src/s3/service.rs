//! The embedded server's answers. They are those of MinIO; what this server does not know, it refuses.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{StatusCode, body::Bytes};
use md5::{Digest as _, Md5};
use s3s::{
    Body, S3, S3Error, S3Request, S3Response, S3Result,
    auth::{S3Auth, SecretKey},
    dto::{
        Bucket, BucketVersioningStatus, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
        DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput, ETag, GetBucketLocationInput,
        GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectInput,
        GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
        ListBucketsInput, ListBucketsOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
        ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
        PutBucketVersioningInput, PutBucketVersioningOutput, PutObjectInput, PutObjectOutput, Range,
        Timestamp,
    },
    s3_error,
};

use super::{
    Credentials,
    checks::{check_conditions, check_content, check_id},
    hex,
    listing::{After, Listed, decode_token, folder_of, page_size},
    refusals::{behind_marker, content_mismatch, illegal_versioning, no_such_key, not_implemented},
    store::{self, About, Content, NULL, Store, Version, Versioning},
};

/// Objects larger than this are no Terraform states.
const LARGEST: usize = 256 << 20;

/// Goes with a request whose conditions the server shall not see.
#[derive(Clone, Copy)]
pub(super) struct IgnoreConditions;

/// The answers to requests.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) store: Arc<Mutex<Store>>,
}

impl Service {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The only user.
pub(super) struct Auth(pub(super) Credentials);

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key {
            return Ok(SecretKey::from(self.0.secret_key.as_str()));
        }
        Err(s3_error!(InvalidAccessKeyId, "The Access Key Id you provided does not exist in our records."))
    }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let mut store = self.store();
        let name = req.input.bucket;
        if store.buckets.contains_key(&name) {
            return Err(s3_error!(
                BucketAlreadyOwnedByYou,
                "Your previous request to create the named bucket succeeded and you already own it."
            ));
        }
        store.create_bucket(&name).map_err(S3Error::internal_error)?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let mut store = self.store();
        if !bucket(&store, &req.input.bucket)?.objects.is_empty() {
            return Err(s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty"));
        }
        store.delete_bucket(&req.input.bucket).map_err(S3Error::internal_error)?;
        Ok(S3Response::with_status(DeleteBucketOutput::default(), StatusCode::NO_CONTENT))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        bucket(&self.store(), &req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        bucket(&self.store(), &req.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(
        &self,
        _req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let store = self.store();
        let describe = |(name, bucket): (&String, &store::Bucket)| Bucket {
            name: Some(name.clone()),
            creation_date: Some(Timestamp::from(bucket.created())),
            ..Bucket::default()
        };
        let buckets = store.buckets.iter().map(describe).collect();
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..ListBucketsOutput::default() }))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let status = match bucket(&self.store(), &req.input.bucket)?.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        Ok(S3Response::new(GetBucketVersioningOutput {
            status: status.map(BucketVersioningStatus::from_static),
            ..GetBucketVersioningOutput::default()
        }))
    }

    async fn put_bucket_versioning(
        &self,
        req: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let mut store = self.store();
        bucket(&store, &req.input.bucket)?;
        let status = req.input.versioning_configuration.status;
        let to = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            _ => return Err(illegal_versioning()),
        };
        store.set_versioning(&req.input.bucket, to).map_err(S3Error::internal_error)?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let heeds_conditions = req.extensions.get::<IgnoreConditions>().is_none();
        let mut input = req.input;
        let body = match input.body.take() {
            Some(blob) => {
                let read =
                    Body::from(s3s::stream::DynByteStream::from(blob)).store_all_limited(LARGEST).await;
                read.map_err(|_| content_mismatch())?
            }
            None => Bytes::new(),
        };
        let trailers = req.trailing_headers.and_then(|trailers| trailers.take()).unwrap_or_default();
        let checksums = check_content(&input, &trailers, &body)?;

        let mut store = self.store();
        let there = bucket(&store, &input.bucket)?;
        if heeds_conditions {
            check_conditions(&input, there.current(&input.key).map(|(_, content)| content))?;
        }
        let etag = hex(&Md5::digest(&body));
        let about = About {
            content_type: input.content_type.clone(),
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        };
        let put = store.put(&input.bucket, &input.key, &body, etag.clone(), about);
        let version = put.map_err(S3Error::internal_error)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            version_id: visible_id(&version),
            ..checksums
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        if input.if_match.is_some() || input.if_none_match.is_some() || input.part_number.is_some() {
            return Err(not_implemented());
        }
        let store = self.store();
        let (version, content) = find(&store, &input.bucket, &input.key, input.version_id.as_deref())?;
        let whole = store.read(&content).map_err(S3Error::internal_error)?;
        let (part, content_range) = part_of(whole, input.range)?;
        let status = if content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(part.len()).ok(),
            content_range,
            body: Some(Body::from(part).into()),
            content_type: Some(content_type(&content)),
            e_tag: Some(ETag::Strong(content.etag.clone())),
            last_modified: Some(Timestamp::from(version.modified())),
            metadata: Some(content.about.metadata.into_iter().collect()),
            version_id: visible_id(&version),
            ..GetObjectOutput::default()
        };
        Ok(S3Response::with_status(output, status))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        if input.if_match.is_some() || input.if_none_match.is_some() || input.range.is_some() {
            return Err(not_implemented());
        }
        let store = self.store();
        let (version, content) = find(&store, &input.bucket, &input.key, input.version_id.as_deref())?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(content.size).ok(),
            content_type: Some(content_type(&content)),
            e_tag: Some(ETag::Strong(content.etag.clone())),
            last_modified: Some(Timestamp::from(version.modified())),
            metadata: Some(content.about.metadata.into_iter().collect()),
            version_id: visible_id(&version),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        if input.if_match.is_some() {
            return Err(not_implemented());
        }
        let mut store = self.store();
        bucket(&store, &input.bucket)?;
        let deleted = match input.version_id.as_deref() {
            Some(id) => {
                check_id(id)?;
                store.delete_version(&input.bucket, &input.key, id)
            }
            None => store.delete(&input.bucket, &input.key),
        };
        let deleted = deleted.map_err(S3Error::internal_error)?;
        let output = DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            version_id: deleted.id,
            ..DeleteObjectOutput::default()
        };
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        bucket(&self.store(), &req.input.bucket)?;
        Err(not_implemented())
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
        let token = input.continuation_token.as_deref().map(decode_token).transpose()?;
        let after = token.or_else(|| input.start_after.clone()).unwrap_or_default();
        let limit = page_size(input.max_keys)?;
        let store = self.store();
        let bucket = bucket(&store, &input.bucket)?;

        let mut contents = Vec::new();
        let mut folders = BTreeSet::new();
        let mut last = None;
        let mut is_truncated = false;
        for key in bucket.objects.keys().filter(|key| key.starts_with(&prefix)) {
            let Some((version, content)) = bucket.current(key) else { continue };
            let folder = delimiter.as_deref().and_then(|delimiter| folder_of(key, &prefix, delimiter));
            let name = folder.clone().unwrap_or_else(|| key.clone());
            if *name <= *after || folders.contains(&name) {
                continue;
            }
            if contents.len() + folders.len() == limit {
                is_truncated = true;
                break;
            }
            last = Some(name);
            match folder {
                Some(folder) => drop(folders.insert(folder)),
                None => contents.push(Object {
                    key: Some(key.clone()),
                    e_tag: Some(ETag::Strong(content.etag.clone())),
                    last_modified: Some(Timestamp::from(version.modified())),
                    size: i64::try_from(content.size).ok(),
                    ..Object::default()
                }),
            }
        }
        let count = contents.len() + folders.len();
        let common = folders.into_iter().map(|folder| s3s::dto::CommonPrefix { prefix: Some(folder) });
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            delimiter,
            max_keys: i32::try_from(limit).ok(),
            key_count: i32::try_from(count).ok(),
            is_truncated: Some(is_truncated),
            continuation_token: input.continuation_token,
            next_continuation_token: last.filter(|_| is_truncated).map(|key| STANDARD.encode(key)),
            contents: Some(contents),
            common_prefixes: Some(common.collect()),
            start_after: input.start_after,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = req.input;
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(not_implemented());
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        let limit = page_size(input.max_keys)?;
        let store = self.store();
        let bucket = bucket(&store, &input.bucket)?;
        let after = After {
            key: input.key_marker.clone().unwrap_or_default(),
            version: input.version_id_marker.clone().filter(|id| !id.is_empty()),
        };
        if after.key.is_empty() && after.version.is_some() {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }

        let mut page = after.rest(bucket, &prefix);
        let is_truncated = page.len() > limit;
        page.truncate(limit);
        let next = page
            .last()
            .filter(|_| is_truncated)
            .map(|entry| (entry.key.to_owned(), entry.version.id.clone()));
        let (next_key_marker, next_version_id_marker) = next.unzip();
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(prefix),
            key_marker: Some(after.key.clone()),
            version_id_marker: Some(after.version.clone().unwrap_or_default()),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(is_truncated),
            next_key_marker,
            next_version_id_marker,
            versions: Some(page.iter().filter_map(Listed::object).collect()),
            delete_markers: Some(page.iter().filter_map(Listed::marker).collect()),
            ..ListObjectVersionsOutput::default()
        }))
    }
}

fn bucket<'a>(store: &'a Store, name: &str) -> S3Result<&'a store::Bucket> {
    store.buckets.get(name).ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))
}

/// A version of an object that has a content; without an ID the newest.
fn find(store: &Store, name: &str, key: &str, id: Option<&str>) -> S3Result<(Version, Content)> {
    let bucket = bucket(store, name)?;
    if let Some(id) = id {
        check_id(id)?;
    }
    let versions = bucket.objects.get(key).map(Vec::as_slice).unwrap_or_default();
    let version = match id {
        Some(id) => versions.iter().find(|version| version.id == id),
        None => versions.first(),
    };
    let Some(version) = version else {
        return Err(match id {
            Some(_) => s3_error!(NoSuchVersion, "The specified version does not exist."),
            None => no_such_key(),
        });
    };
    match &version.content {
        Some(content) => Ok((version.clone(), content.clone())),
        None => Err(behind_marker(version, id.is_some())),
    }
}

/// The range that was asked for, and how it is told.
fn part_of(whole: Vec<u8>, range: Option<Range>) -> S3Result<(Vec<u8>, Option<String>)> {
    let Some(range) = range else { return Ok((whole, None)) };
    let part = range.check(whole.len() as u64);
    let part = part.map_err(|_| s3_error!(InvalidRange, "The requested range is not satisfiable"))?;
    let told = format!("bytes {}-{}/{}", part.start, part.end - 1, whole.len());
    let place = |at: u64| usize::try_from(at).unwrap_or(whole.len());
    Ok((whole[place(part.start)..place(part.end)].to_vec(), Some(told)))
}

fn content_type(content: &Content) -> String {
    content.about.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
}

/// IDs are told by buckets only that keep versions.
fn visible_id(version: &Version) -> Option<String> {
    (version.id != NULL).then(|| version.id.clone())
}

/// The service with its login.
pub(super) fn build(service: Service, credentials: Credentials) -> s3s::service::S3Service {
    let mut builder = s3s::service::S3ServiceBuilder::new(service);
    builder.set_auth(Auth(credentials));
    builder.build()
}
